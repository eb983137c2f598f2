"""Tests of rights whose end no message announces: they are found within a time."""

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone

from apps.tickets.models import Ticket
from pillarbox.capture.muting import muted
from pillarbox.deadlines import clock
from pillarbox.sockets.housekeeping.recurring import housekeeping
from tests.communicators import (
    connected,
    drain,
    in_thread,
    lose,
    rename_table,
    signed_in,
    statements_of,
    subject,
)
from tests.sockets.losing import (
    ENDS_OF_SESSIONS,
    cookie_of,
    delete_members_unannounced,
    key_of,
    reauthorise,
    remove,
)
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestWithoutAMessage:
    async def test_a_lost_end_is_found_by_the_position_check(self, settings, demo, project, ticket):
        """
        Like any other row whose message was lost.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await housekeeping().positions.check()
            await in_thread(remove, project, demo)
            await lose(settings)
            await housekeeping().positions.check()
            assert "revoked" == (await socket.receive())["reason"]

    @pytest.mark.parametrize("how", ENDS_OF_SESSIONS)
    async def test_a_lost_end_of_a_session_is_found_by_the_position_check(
        self, settings, demo, how
    ):
        """
        However the session was deleted.
        """
        client, headers = await cookie_of(demo)
        async with connected(headers) as socket:
            await socket.receive()
            await housekeeping().positions.check()
            assert await socket.answers()
            await in_thread(how, client, key_of(client))
            await lose(settings)
            await housekeeping().positions.check()
            assert 4401 == await socket.closed()

    async def test_an_uncaptured_end_is_found_by_reauthorisation(
        self, settings, demo, project, ticket
    ):
        """
        A right whose end no trigger captures ends within REAUTHORISE_SECONDS.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"REAUTHORISE_SECONDS": 0.1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(delete_members_unannounced)
            assert "revoked" == (await socket.receive())["reason"]

    async def test_a_session_under_an_old_key_stays(self, settings, demo):
        """
        While SECRET_KEY changes, a socket doesn't end its browser's session.
        """
        client, headers = await cookie_of(demo)
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another"
        for _ in range(2):
            async with connected(headers) as socket:
                assert "hello" == (await socket.receive())["type"]
        assert 302 == (await in_thread(client.get, "/admin/")).status_code

    async def test_a_logout_that_cannot_be_announced_succeeds(self, settings, demo, caplog):
        """
        A session in a cache ends, even if no row can be written.
        """
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
        client, headers = await cookie_of(demo)
        async with connected(headers) as socket:
            await socket.receive()
            await in_thread(rename_table, "pillarbox_notificationoutbox", "away")
            try:
                await in_thread(client.logout)
            finally:
                await in_thread(rename_table, "away", "pillarbox_notificationoutbox")
            assert "A logout is not announced" in caplog.text
            await housekeeping().reauthorise()
            assert 4401 == await socket.closed()

    async def test_an_expired_session_ends_its_sockets(self, demo):
        """
        No row announces that a session has expired.
        """
        _, headers = await cookie_of(demo)
        async with connected(headers) as socket:
            await socket.receive()
            await in_thread(_expire_sessions)
            await drain()
            assert await socket.answers()
            await housekeeping().reauthorise()
            assert 4401 == await socket.closed()

    async def test_an_uncaptured_deletion_ends_the_subscription_later(self, settings, demo, ticket):
        """
        Its DELETE may be on its way at first. After POSITION_CHECK_SECONDS it would have arrived.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(_delete_unannounced, ticket)
            await housekeeping().reauthorise()
            await until(_gone)
            assert await socket.answers()
            settings.PILLARBOX = settings.PILLARBOX | {
                "POSITION_CHECK_SECONDS": 0.1,
                "REAUTHORISE_SECONDS": 1000,
            }
            await until(lambda: clock().now - _gone()[0] > 0.1)
            await housekeeping().positions.check()
            frame = await socket.receive()
        assert ("unsubscribed", "deleted") == (frame["type"], frame["reason"])

    async def test_an_access_check_leaves_a_deletion_to_its_row(self, demo, project, ticket):
        """
        A subscription whose object is gone stays until the DELETE has arrived.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(project.delete)
            await housekeeping().reauthorise()
            await drain()
            frames = [await socket.receive() for _ in range(2)]
        assert ["DELETE_TICKET", "unsubscribed"] == [frame["type"] for frame in frames]
        assert "deleted" == frames[-1]["reason"]

    async def test_the_number_of_queries_is_independent_of_a_users_sockets(
        self, demo, project, ticket
    ):
        """
        Each token is read once, and each type once for each user.
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
    """Return when access checks found the objects of subscriptions gone."""
    known = (s.gone_since for each in housekeeping().sockets for s in each.subscriptions.values())
    return [since for since in known if since is not None]


def _expire_sessions():
    Session.objects.update(expire_date=timezone.now())


def _delete_unannounced(ticket):
    with muted(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM tickets_ticket WHERE id = %s", [ticket.pk])
