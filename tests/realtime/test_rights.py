"""Who loses a right stops receiving: at once where it can be seen, within a time where it can't."""

import asyncio
import json

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import DataError, ProgrammingError, connection
from django.test import Client
from rest_framework.authtoken.models import Token

from apps.outbox.models import NotificationOutbox
from apps.realtime import grants
from apps.realtime.grants import rights_stream
from apps.realtime.registry import register, unregister
from apps.realtime.rounds import rounds
from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from tests.sockets import (
    collection,
    connected,
    database_away,
    drain,
    in_thread,
    lose,
    registered,
    rename,
    rename_table,
    signed_in,
    statements_of,
    subject,
    until,
    write,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


@pytest.fixture(autouse=True)
def by_hand(settings):
    """Rounds that only go when told to."""
    settings.REALTIME = {"POSITION_CHECK_SECONDS": 1000, "REAUTHORISE_SECONDS": 1000}


async def cookie_of(user):
    """Return the headers of a browser in which a user is signed in, and its client."""
    client = Client()
    await in_thread(client.force_login, user)
    name = django_settings.SESSION_COOKIE_NAME
    cookie = f"{name}={client.cookies[name].value}"
    return client, [(b"cookie", cookie.encode()), (b"origin", b"http://localhost:8000")]


def remove(project, user):
    project.members.remove(user)


def remove_from_the_user(project, user):
    user.projects.clear()


def delete_the_row(project, user):
    Project.members.through.objects.filter(user=user).delete()


class TestAtOnce:
    """What the ORM does is announced, in the same transaction, on a stream of the user's own."""

    @pytest.mark.parametrize("how", [remove, remove_from_the_user, delete_the_row])
    async def test_a_member_who_is_removed_is_told_and_sees_nothing_more(
        self, demo, project, ticket, how
    ):
        """
        Each subscription ends with a reason; what comes after it doesn't arrive.
        """
        async with signed_in(demo) as socket:
            for about in (subject(ticket), collection(project), {"object_type": "me", "id": "me"}):
                await socket.ask(about)
            await in_thread(how, project, demo)
            await drain()
            ends = []
            while len(ends) < 2:
                frame = await socket.receive()
                if frame["type"] == "unsubscribed":
                    ends.append(frame)
            assert {("revoked", False)} == {(f["reason"], f["resubscribe"]) for f in ends}
            await rename(ticket, "Secret")
            assert await socket.answers()
            assert "not_found" == (await socket.ask(subject(ticket)))["code"]

    async def test_others_keep_theirs(self, demo, other, admin, project, ticket):
        """
        Who is still a member is asked nothing, and told nothing of rights.
        """
        await in_thread(project.members.add, other)
        async with signed_in(other) as socket:
            await socket.ask(subject(ticket))
            await in_thread(remove, project, demo)
            await rename(ticket, "Changed")
            assert "UPDATE_TICKET" == (await socket.receive())["type"]

    @pytest.mark.parametrize("how", ["disable", "update", "password", "delete", "token"])
    async def test_who_may_not_come_in_any_more_is_put_out(self, demo, ticket, how):
        """
        A disabled user, a deleted one, one whose token is revoked: the socket ends with 4401.
        """
        user = await in_thread(get_user_model().objects.get, pk=demo.pk)
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(_put_out, user, how)
            await drain()
            if how == "password":  # a token doesn't depend on it
                assert await socket.answers()
            else:
                assert 4401 == await socket.closed()

    async def test_a_session_ends_with_its_password(self, demo):
        """
        The password of a session's user changes: whoever came in by the old one leaves.
        """
        _, headers = await cookie_of(demo)
        async with connected(headers) as socket:
            await socket.receive()
            await in_thread(_put_out, demo, "password")
            await drain()
            assert 4401 == await socket.closed()

    async def test_a_logout_ends_the_sockets_of_its_session(self, demo):
        """
        Those of another browser stay.
        """
        client, headers = await cookie_of(demo)
        _, other_headers = await cookie_of(demo)
        async with connected(headers) as socket, connected(other_headers) as elsewhere:
            for each in (socket, elsewhere):
                assert "hello" == (await each.receive())["type"]
            await in_thread(client.logout)
            await drain()
            assert 4401 == await socket.closed()
            assert await elsewhere.answers()

    async def test_a_session_is_not_named(self, demo):
        """
        The row of a logout doesn't hold what would open the door.
        """
        client, headers = await cookie_of(demo)
        await in_thread(client.logout)
        stream = rights_stream(demo.pk)
        payload = await in_thread(lambda: NotificationOutbox.objects.get(stream=stream).payload)
        key = headers[0][1].decode().partition("=")[2]
        assert key not in json.dumps(payload)

    async def test_a_login_announces_nothing(self, demo, ticket):
        """
        Nor does a new user, a new member, or a visitor who logs out.
        """
        await cookie_of(demo)
        await in_thread(Client().get, "/admin/logout/")
        await in_thread(lambda: Client().logout())
        assert not await in_thread(NotificationOutbox.objects.filter(object_type="rights").exists)

    async def test_nobody_can_subscribe_to_it(self, demo):
        """
        It is no type that clients know.
        """
        async with signed_in(demo) as socket:
            answer = await socket.ask({"object_type": "rights", "id": "x"})
        assert {"object_type"} == set(answer["errors"])

    async def test_with_the_database_away_the_next_round_asks(self, demo, project, ticket):
        """
        What couldn't be looked up is looked up again.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(remove, project, demo)
            async with database_away():
                await _reauthorise()
                assert {-1} == {each.rights_offset for each in rounds().sockets}
                assert await socket.answers()
            await rounds().check_positions()
            assert "revoked" == (await socket.receive())["reason"]


def _put_out(user, how):
    if how == "delete":
        user.delete()
    elif how == "token":
        Token.objects.filter(user=user).delete()
    elif how == "update":
        get_user_model().objects.filter(pk=user.pk).update(is_active=False)
    elif how == "disable":
        user.is_active = False
        user.save()
    else:
        user.set_password("another")
        user.save()


def test_without_tokens_there_are_none_to_watch(settings):
    """
    A site that has only sessions needs no table of tokens.
    """
    tables = ["auth_user", "auth_user_groups", "auth_user_user_permissions"]
    assert [*tables, "authtoken_token"] == watched_tables()
    settings.INSTALLED_APPS = [a for a in settings.INSTALLED_APPS if not a.endswith("authtoken")]
    assert tables == watched_tables()


def watched_tables():
    return [announcer.model._meta.db_table for announcer in grants.announcers()]


class TestGroups:
    """Rights that a type bases on Django's groups and permissions."""

    @pytest.fixture
    def by_group(self):
        """Tickets are for whoever is in a group, whatever the project."""
        unregister("ticket")
        register(OfGroup)
        yield
        unregister("ticket")
        register(TicketType)

    @pytest.mark.parametrize("how", ["remove", "delete"])
    async def test_who_leaves_one_is_noticed_at_once(self, by_group, demo, ticket, how):
        """
        Also if the group ceases to be.
        """
        group = await in_thread(Group.objects.create, name="readers")
        await in_thread(demo.groups.add, group)
        async with signed_in(demo) as socket:
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]
            await in_thread(group.delete if how == "delete" else group.user_set.clear)
            await drain()
            assert "revoked" == (await socket.receive())["reason"]


class Faulty(TicketType):
    """Tickets of whose visibility nothing can be said to one user."""

    fails_for = None
    error = ZeroDivisionError

    def visible_to(self, user):
        if user.pk == Faulty.fails_for:
            raise Faulty.error
        return super().visible_to(user)


class OfGroup(TicketType):
    def visible_to(self, user):
        is_reader = user.groups.filter(name="readers").exists()
        return Ticket.objects.all() if is_reader else Ticket.objects.none()


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
        settings.REALTIME = {"REAUTHORISE_SECONDS": 0.1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(_forget_members)
            assert "revoked" == (await socket.receive())["reason"]

    async def test_a_permission_that_fails_is_that_users(
        self, monkeypatch, demo, other, project, ticket, caplog
    ):
        """
        It is no yes: the socket comes back without. Everybody else is asked about all the same.
        """
        await in_thread(project.members.add, other)
        monkeypatch.setattr(Faulty, "fails_for", None)
        with registered(Faulty):
            async with signed_in(demo) as socket, signed_in(other) as faulty:
                for each in (socket, faulty):
                    await each.ask(subject(ticket))
                await in_thread(_forget_members)
                Faulty.fails_for = other.pk
                await _reauthorise()
                assert "revoked" == (await socket.receive())["reason"]
                assert 4500 == await faulty.closed()
                await rename(ticket, "Secret")
                assert await faulty.communicator.receive_nothing()
        (record,) = [it for it in caplog.records if it.message == "A round failed"]
        assert [f"ticket:{ticket.pk}"] == record.streams

    @pytest.mark.parametrize("error", [ZeroDivisionError, ProgrammingError, DataError])
    async def test_what_it_fails_for_is_not_subscribed(
        self, monkeypatch, demo, project, ticket, error
    ):
        """
        Nor is it an outage, which would pass. What else the command asks for is granted.
        """
        monkeypatch.setattr(Faulty, "fails_for", demo.pk)
        monkeypatch.setattr(Faulty, "error", error)
        with registered(Faulty):
            async with signed_in(demo) as socket:
                await socket.send({"subscriptions": [collection(project), subject(ticket)]})
                frames = [await socket.receive() for _ in range(2)]
                assert ["subscribed", "error"] == [frame["type"] for frame in frames]
                assert (1, "internal", False) == tuple(
                    frames[1][key] for key in ("index", "code", "temporary")
                )
                answer = await socket.ask(subject(ticket))
                assert "internal" == answer["code"]
                await rename(ticket, "Secret")
                frame = await socket.receive()
                assert collection(project) == frame["subscription"]
                assert await socket.silent(demo)

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
            settings.REALTIME = {"POSITION_CHECK_SECONDS": 0.1, "REAUTHORISE_SECONDS": 1000}
            await until(lambda: asyncio.get_running_loop().time() - _gone()[0] > 0.1)
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
            few = await statements_of("rights", _reauthorise)
            tickets = [Ticket(project=project, title=str(number)) for number in range(20)]
            await in_thread(Ticket.objects.bulk_create, tickets)
            for socket in (one, other):
                await socket.send({"subscriptions": [subject(t) for t in tickets]})
                for _ in tickets:
                    assert "subscribed" == (await socket.receive())["type"]
            assert few == await statements_of("rights", _reauthorise)


def _gone():
    """Return since when the objects of subscriptions are known to be gone."""
    known = (s.gone_since for each in rounds().sockets for s in each.subscriptions.values())
    return [since for since in known if since is not None]


def _forget_members():
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tickets_project_members")


def _forget_sessions():
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_session")


def _delete_in_sql(ticket):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tickets_ticket WHERE id = %s", [ticket.pk])


async def _reauthorise():
    await rounds().reauthorise()
    await rounds()._in_doubt._task


class TestMoves:
    async def test_a_move_is_said_with_the_present_state(self, demo, project, ticket):
        """
        Who may see it where it is now is told that it moved; from there on all is complete.
        """
        elsewhere = await in_thread(_project_of, demo)
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            ticket.project, ticket.title = elsewhere, "Moved"
            await in_thread(ticket.save)
            await drain()
            frame = await socket.receive()
            assert ("resynced", "moved", 2) == (frame["type"], frame["reason"], frame["offset"])
            assert "Moved" == frame["payload"]["title"]
            await rename(ticket, "After")
            assert 3 == (await socket.receive())["offset"]

    async def test_who_may_not_see_it_there_sees_nothing_of_it(self, demo, project, ticket):
        """
        Not what it became with the move, nor what comes after.
        """
        secret = await in_thread(Project.objects.create, name="Secret")
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await socket.ask(collection(project))
            ticket.project, ticket.title = secret, "Hidden"
            await in_thread(ticket.save)
            await drain()
            frames = [await socket.receive() for _ in range(2)]
            assert {"unsubscribed", "DELETE_TICKET"} == {frame["type"] for frame in frames}
            assert "Hidden" not in json.dumps(frames)
            await rename(ticket, "Hidden too")
            assert await socket.answers()

    async def test_in_a_gap_it_is_the_same(self, settings, demo, project, ticket):
        """
        What was before the move is sent, then what is now.
        """
        elsewhere = await in_thread(_project_of, demo)
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Before")
            ticket.project = elsewhere
            await write(ticket, "Moved")
            await lose(settings)
            await rename(ticket, "After")
            frames = [await socket.receive() for _ in range(2)]
        assert ["UPDATE_TICKET", "resynced"] == [frame["type"] for frame in frames]
        assert ("moved", 4) == (frames[1]["reason"], frames[1]["offset"])


def _project_of(user):
    project = Project.objects.create(name="Elsewhere")
    project.members.add(user)
    return project
