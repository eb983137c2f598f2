"""Rights whose end no push says: found within a time."""

import pytest
from django.db import connection

from apps.realtime.deadlines import clock
from apps.realtime.rounds import rounds
from apps.tickets.models import Ticket
from tests.realtime.losing import cookie_of, delete_members, reauthorise, remove
from tests.sockets import (
    connected,
    drain,
    in_thread,
    lose,
    rename_table,
    signed_in,
    statements_of,
    subject,
)
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestWithoutAPush:
    async def test_a_lost_one_is_found_by_the_position_check(self, settings, demo, project, ticket):
        """
        As any other notification that got lost.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await rounds().check_positions()
            await in_thread(remove, project, demo)
            await lose(settings)
            await rounds().check_positions()
            assert "revoked" == (await socket.receive())["reason"]

    async def test_what_only_the_database_knows_is_noticed_by_the_timer(
        self, settings, demo, project, ticket
    ):
        """
        A right that ends by raw SQL ends within REAUTHORISE_SECONDS.
        """
        settings.REALTIME = settings.REALTIME | {"REAUTHORISE_SECONDS": 0.1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(delete_members)
            assert "revoked" == (await socket.receive())["reason"]

    async def test_a_session_under_an_old_key_stays(self, settings, demo):
        """
        While SECRET_KEY is changed, a socket doesn't take the session away from its browser.
        """
        client, headers = await cookie_of(demo)
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another"
        for _ in range(2):
            async with connected(headers) as socket:
                assert "hello" == (await socket.receive())["type"]
        assert 302 == (await in_thread(client.get, "/admin/")).status_code

    async def test_a_logout_that_cannot_be_announced_is_one(self, demo, caplog):
        """
        The session ends, whatever the outbox says to it.
        """
        client, headers = await cookie_of(demo)
        async with connected(headers) as socket:
            await socket.receive()
            await in_thread(rename_table, "outbox_notificationoutbox", "away")
            try:
                await in_thread(client.logout)
            finally:
                await in_thread(rename_table, "away", "outbox_notificationoutbox")
            assert "A logout is not announced" in caplog.text
            await rounds().reauthorise()
            assert 4401 == await socket.closed()

    async def test_a_session_that_expired_is_noticed(self, demo):
        """
        Its store has forgotten it, and nothing has said so.
        """
        _, headers = await cookie_of(demo)
        async with connected(headers) as socket:
            await socket.receive()
            await in_thread(_forget_sessions)
            await rounds().reauthorise()
            assert 4401 == await socket.closed()

    async def test_what_was_deleted_unannounced_ends_when_that_is_certain(
        self, settings, demo, ticket
    ):
        """
        At first its deletion may be on its way; a position check later it isn't.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(_delete_in_sql, ticket)
            await rounds().reauthorise()
            await until(_gone)
            assert await socket.answers()
            settings.REALTIME = settings.REALTIME | {
                "POSITION_CHECK_SECONDS": 0.1,
                "REAUTHORISE_SECONDS": 1000,
            }
            await until(lambda: clock().now - _gone()[0] > 0.1)
            await rounds().check_positions()
            frame = await socket.receive()
        assert ("unsubscribed", "deleted") == (frame["type"], frame["reason"])

    async def test_a_deletion_comes_before_the_end(self, demo, project, ticket):
        """
        Who is asked in between doesn't take the announced deletion away.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(project.delete)
            await rounds().reauthorise()
            await drain()
            frames = [await socket.receive() for _ in range(2)]
        assert ["DELETE_TICKET", "unsubscribed"] == [frame["type"] for frame in frames]
        assert "deleted" == frames[-1]["reason"]

    async def test_as_many_queries_whatever_the_sockets_of_a_user(self, demo, project, ticket):
        """
        A token is looked at once, and each type once for each user.
        """
        async with signed_in(demo) as one, signed_in(demo) as other:
            for socket in (one, other):
                await socket.ask(subject(ticket))
            few = await statements_of("rights", reauthorise)
            tickets = [Ticket(project=project, title=str(number)) for number in range(20)]
            await in_thread(Ticket.objects.bulk_create, tickets)
            for socket in (one, other):
                await socket.send({"subscriptions": [subject(t) for t in tickets]})
                for _ in tickets:
                    assert "subscribed" == (await socket.receive())["type"]
            assert few == await statements_of("rights", reauthorise)


def _gone():
    """Return since when the objects of subscriptions are known to be gone."""
    known = (s.gone_since for each in rounds().sockets for s in each.subscriptions.values())
    return [since for since in known if since is not None]


def _forget_sessions():
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_session")


def _delete_in_sql(ticket):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tickets_ticket WHERE id = %s", [ticket.pk])
