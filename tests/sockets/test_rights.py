"""Tests of ends of rights: a user who loses a right stops receiving at once, whatever ended it."""

import threading

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.test import Client
from rest_framework.authtoken.models import Token

from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.types import grants
from pillarbox.types.grants import session_digest
from tests.communicators import (
    collection,
    connected,
    database_away,
    drain,
    in_thread,
    registered,
    rename,
    signed_in,
    subject,
)
from tests.sockets.losing import (
    ENDS_OF_SESSIONS,
    cookie_of,
    delete_members,
    delete_session_by_sql,
    key_of,
    reauthorise,
    remove,
)
from tests.waiting import PATIENCE, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

IN_THE_DATABASE, IN_A_CACHE = (
    f"django.contrib.sessions.backends.{name}" for name in ("db", "cache")
)


def remove_from_the_user(project, user):
    user.projects.clear()


def delete_the_row(project, user):
    Project.members.through.objects.filter(user=user).delete()


class TestAtOnce:
    """Tests of ends of rights that triggers capture."""

    @pytest.mark.parametrize("how", [remove, remove_from_the_user, delete_the_row, delete_members])
    async def test_a_removed_member_loses_subscriptions(self, demo, project, ticket, how):
        """
        Each subscription ends with a reason. Later changes are not sent.
        """
        async with signed_in(demo) as socket:
            for about in (subject(ticket), collection(project), {"object_type": "me", "id": "me"}):
                await socket.ask(about)
            await in_thread(how, project, demo)
            await drain()
            for _ in range(2):
                end = await socket.receive()
                assert ("unsubscribed", "revoked") == (end["type"], end["reason"])
                assert end["resubscribe"] is False
            await rename(ticket, "Secret")
            assert await socket.received_nothing(demo)
            assert "not_found" == (await socket.ask(subject(ticket)))["code"]

    async def test_other_members_keep_their_subscriptions(
        self, demo, other, admin, project, ticket
    ):
        """
        Their access isn't affected.
        """
        await in_thread(project.members.add, other)
        async with signed_in(other) as socket:
            await socket.ask(subject(ticket))
            await in_thread(remove, project, demo)
            await rename(ticket, "Changed")
            assert "UPDATE_TICKET" == (await socket.receive())["type"]

    @pytest.mark.parametrize("how", ["disable", "update", "password", "delete", "token"])
    async def test_invalid_credentials_close_the_socket(self, demo, ticket, how):
        """
        A disabled or deleted user, or a revoked token, closes the socket with 4401.
        """
        user = await in_thread(get_user_model().objects.get, pk=demo.pk)
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(_put_out, user, how)
            await drain()
            if how == "password":  # a token doesn't depend on it
                assert await socket.received_nothing(demo)
            else:
                assert 4401 == await socket.closed()

    async def test_a_session_ends_with_its_password(self, demo):
        """
        When the user's password changes, sockets with the old session are closed.
        """
        _, headers = await cookie_of(demo)
        async with connected(headers) as socket:
            await socket.receive()
            await in_thread(_put_out, demo, "password")
            await drain()
            assert 4401 == await socket.closed()

    @pytest.mark.parametrize("how", ENDS_OF_SESSIONS)
    async def test_a_deleted_session_ends_its_sockets(self, demo, how):
        """
        However the session is deleted. Sockets of another browser stay.
        """
        client, headers = await cookie_of(demo)
        _, other_headers = await cookie_of(demo)
        async with connected(headers) as socket, connected(other_headers) as elsewhere:
            for each in (socket, elsewhere):
                assert "hello" == (await each.receive())["type"]
            await in_thread(how, client, key_of(client))
            await drain()
            assert 4401 == await socket.closed()
            assert await elsewhere.received_nothing(demo)

    async def test_a_logout_ends_the_sockets_of_a_session_without_a_table(self, settings, demo):
        """
        The end of a session that only a cache has is captured by Django's signal.
        """
        settings.SESSION_ENGINE = IN_A_CACHE
        client, headers = await cookie_of(demo)
        _, other_headers = await cookie_of(demo)
        async with connected(headers) as socket, connected(other_headers) as elsewhere:
            for each in (socket, elsewhere):
                assert "hello" == (await each.receive())["type"]
            await in_thread(client.logout)
            await drain()
            assert 4401 == await socket.closed()
            assert await elsewhere.received_nothing(demo)

    async def test_a_deleted_session_ends_its_sockets_despite_a_cache(self, settings, demo):
        """
        The cache still has a valid copy of the session.
        """
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
        client, headers = await cookie_of(demo)
        async with connected(headers) as socket:
            await socket.receive()
            await in_thread(delete_session_by_sql, client, key_of(client))
            await drain()
            assert 4401 == await socket.closed()

    @pytest.mark.parametrize("engine", [IN_THE_DATABASE, IN_A_CACHE])
    async def test_the_key_of_a_session_is_not_stored(self, settings, demo, engine):
        """
        The row of a logout has only a digest of the key.
        """
        settings.SESSION_ENGINE = engine
        client, _ = await cookie_of(demo)
        key = key_of(client)
        await in_thread(client.logout)
        rows = NotificationOutbox.objects.filter(object_id=session_digest(key))
        row = await in_thread(rows.values().get)
        assert ("rights", "rights.session", None) == (
            row["stream"],
            row["object_type"],
            row["image"],
        )
        assert key not in str(row)

    async def test_a_login_announces_nothing(self, demo, ticket):
        """
        Nor does a new user, an anonymous logout, or a new member, who loses nothing.
        """
        await cookie_of(demo)
        await in_thread(Client().get, "/admin/logout/")
        await in_thread(lambda: Client().logout())
        rows = NotificationOutbox.objects.filter(stream=RIGHTS, object_id=str(demo.pk))
        rows = rows.exclude(event="CREATE_RIGHTS")
        assert not await in_thread(rows.exists)

    async def test_a_right_that_ends_while_it_is_checked(self, demo, project, ticket):
        """
        Access is checked again, because an end is known that the first check may have missed.
        """
        asked, goes_on = threading.Event(), threading.Event()

        class Hesitant(TicketType):
            def visible_to(self, user):
                if asked.is_set():
                    return super().visible_to(user)
                seen = list(super().visible_to(user).values_list("pk", flat=True))
                asked.set()
                assert goes_on.wait(PATIENCE)
                return Ticket.objects.filter(pk__in=seen)

        with registered(Hesitant):
            async with signed_in(demo) as socket:
                await socket.send(subject(ticket))
                await until(asked.is_set)
                await in_thread(remove, project, demo)
                await drain()
                await until(_is_affected)
                goes_on.set()
                assert "not_found" == (await socket.receive())["code"]

    async def test_nobody_can_subscribe_to_ends_of_rights(self, demo):
        """
        Clients know no such object type.
        """
        async with signed_in(demo) as socket:
            answer = await socket.ask({"object_type": "rights", "id": "x"})
        assert {"object_type"} == set(answer["errors"])

    async def test_with_the_database_away_the_next_position_check_repeats_it(
        self, demo, project, ticket
    ):
        """
        A failed access check is repeated.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(remove, project, demo)
            async with database_away():
                await reauthorise()
                (served,) = housekeeping().sockets
                assert not served.access.checked.is_set()
                assert await socket.answers()
            await housekeeping().positions.check()
            assert "revoked" == (await socket.receive())["reason"]


def _is_affected():
    """Return whether an end is known that affects the requested subscription, and was checked without it."""
    (socket,) = housekeeping().sockets
    (asked,) = socket.subscriptions.requested
    return asked.affected_since and socket.access.checked.is_set()


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


class TestWatched:
    """Tests of the tables with triggers for ends of rights."""

    NAMES = ("user", "user_groups", "group_permissions", "user_user_permissions")
    USERS = frozenset(f"auth_{name}" for name in NAMES)
    SESSIONS, TOKENS = {"django_session"}, {"authtoken_token"}

    def test_tables(self):
        """
        They are the tables of users, tokens and sessions.
        """
        assert self.USERS | self.SESSIONS | self.TOKENS == watched_tables()

    @pytest.mark.parametrize(("app", "left"), [("authtoken", SESSIONS), ("sessions", TOKENS)])
    def test_without_an_app(self, settings, app, left):
        """
        The tables of apps that aren't installed are missing.
        """
        settings.INSTALLED_APPS = [a for a in settings.INSTALLED_APPS if not a.endswith(app)]
        assert self.USERS | left == watched_tables()

    def test_sessions_in_another_database(self, settings):
        """
        Triggers capture only sessions in the outbox's database.
        """
        settings.SESSION_ENGINE = IN_A_CACHE
        assert self.USERS | self.TOKENS == watched_tables()
        settings.SESSION_ENGINE = IN_THE_DATABASE
        settings.DATABASE_ROUTERS = [SessionsElsewhere()]
        assert self.USERS | self.TOKENS == watched_tables()


class SessionsElsewhere:
    """A database router that keeps sessions in a database of their own."""

    def db_for_write(self, model, **_):
        return "archive" if model is Session else None


def watched_tables():
    return {announcer.model._meta.db_table for announcer in grants.account_announcers()}
