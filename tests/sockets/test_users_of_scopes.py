"""Tests of sockets whose user a project's own middleware has set in the scope."""

import time

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.test import Client
from django.utils.functional import SimpleLazyObject

from pillarbox.sockets.housekeeping.recurring import housekeeping
from tests.communicators import connected, drain, in_thread, token_of
from tests.sockets.claims import Stranger, device_of
from tests.sockets.losing import (
    ENDS_OF_SESSIONS,
    cookie_of,
    delete_user,
    disable,
    ends,
    key_of,
    reauthorise,
    set_password,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

ORIGIN = [(b"origin", b"http://localhost")]


def the_model(user):
    return user


def lazily(user):
    return SimpleLazyObject(lambda: user)


def claimed(user):
    return get_user_model()(pk=str(user.pk))


def strange(user):
    return Stranger(user.pk)


def lazily_a_device(user):
    return SimpleLazyObject(lambda: device_of(user))


async def session_of(user):
    """Return a user's session, as a middleware has read it, and its browser."""
    client = Client()
    await in_thread(client.force_login, user)
    session = await in_thread(lambda: client.session)
    await in_thread(session.items)
    return session, client


class TestUser:
    @pytest.mark.parametrize("made", [the_model, lazily, claimed])
    async def test_the_user_of_the_scope_counts(self, demo, made):
        """
        It may be lazy, or made without asking the database, and needs no Origin.
        """
        async with connected([], user=made(demo)) as socket:
            assert "demo" == (await socket.receive())["user"]
            await housekeeping().reauthorise()
            assert await socket.answers()

    @pytest.mark.parametrize("made", [device_of, lazily_a_device, strange])
    async def test_an_object_that_is_no_user_is_refused(self, demo, made):
        """
        Its primary key is somebody else's, even that of the session's user.
        """
        session, _ = await session_of(demo)
        async with connected(ORIGIN, user=made(demo), session=session) as socket:
            assert 4401 == await socket.closed()

    async def test_it_wins_over_the_session(self, demo, other):
        """
        The middleware knows better whose socket it is.
        """
        _, headers = await cookie_of(other)
        async with connected(headers, user=demo) as socket:
            assert "demo" == (await socket.receive())["user"]

    @pytest.mark.parametrize("nobody", [None, AnonymousUser()], ids=["none", "anonymous"])
    async def test_nobody_is_not_the_user_of_the_session(self, demo, nobody):
        """
        The middleware may have refused the session. A token still counts.
        """
        _, headers = await cookie_of(demo)
        async with connected(headers, user=nobody) as socket:
            assert 4401 == await socket.closed()
        async with connected([*headers, *await token_of(demo)], user=nobody) as socket:
            assert "demo" == (await socket.receive())["user"]

    @pytest.mark.parametrize("how", [disable, set_password, delete_user])
    async def test_it_ends(self, demo, how):
        """
        With the account, and with its password: the socket can't be asked who it is.
        """
        async with connected(ORIGIN, user=demo) as socket:
            await socket.receive()
            assert await ends(socket, how, demo)

    @pytest.mark.parametrize("how", [disable, set_password, delete_user])
    async def test_a_user_that_has_ended_is_refused(self, demo, how):
        """
        The scope's user may be older than the change.
        """
        await in_thread(how, await in_thread(get_user_model().objects.get, pk=demo.pk))
        async with connected(ORIGIN, user=demo) as socket:
            assert 4401 == await socket.closed()

    async def test_a_user_that_fails(self, caplog):
        """
        The socket closes with a code, and the error is logged.
        """
        async with connected(ORIGIN, user=SimpleLazyObject(lambda: 1 / 0)) as socket:
            assert 4500 == await socket.closed()
        assert "ZeroDivisionError" in caplog.text


class TestSession:
    @pytest.mark.parametrize("how", ENDS_OF_SESSIONS)
    async def test_it_ends_with_the_session(self, demo, how):
        """
        A middleware for sessions, such as Channels' own, sets both. The session needs no cookie.
        """
        session, client = await session_of(demo)
        async with connected(ORIGIN, user=demo, session=session) as socket:
            await socket.receive()
            await in_thread(how, client, key_of(client))
            await drain()
            assert 4401 == await socket.closed()

    async def test_it_ends_with_the_password(self, demo):
        """
        As does the session.
        """
        session, _ = await session_of(demo)
        async with connected(ORIGIN, user=demo, session=session) as socket:
            await socket.receive()
            assert await ends(socket, set_password, demo)

    async def test_an_ended_session_is_refused(self, demo):
        """
        It may have ended after the middleware has read it.
        """
        session, client = await session_of(demo)
        await in_thread(client.logout)
        async with connected(ORIGIN, user=demo, session=session) as socket:
            assert 4401 == await socket.closed()

    async def test_a_cookie_needs_an_origin(self, demo):
        """
        Also if the middleware accepts it without one.
        """
        session, _ = await session_of(demo)
        _, (cookie, _) = await cookie_of(demo)
        async with connected([cookie], user=demo, session=session) as socket:
            assert 4403 == await socket.closed()

    @pytest.mark.parametrize("session", [None, {}], ids=["none", "empty"])
    async def test_there_may_be_none(self, demo, session):
        """
        The user counts without one.
        """
        async with connected([], user=demo, session=session) as socket:
            assert "demo" == (await socket.receive())["user"]

    async def test_of_a_user_who_acts_as_another(self, demo, other):
        """
        The socket ends with the session, at once, and with the user that it is of.
        """
        session, client = await session_of(other)
        async with connected(ORIGIN, user=demo, session=session) as socket:
            assert "demo" == (await socket.receive())["user"]
            await reauthorise()
            assert await socket.answers()
            await in_thread(client.logout)
            await drain()
            assert 4401 == await socket.closed()
        async with connected(ORIGIN, user=demo, session=session) as socket:
            assert 4401 == await socket.closed()
        session, _ = await session_of(other)
        async with connected(ORIGIN, user=demo, session=session) as socket:
            await socket.receive()
            assert await ends(socket, disable, demo)

    async def test_whose_owner_may_not_sign_in_any_more(self, demo, other):
        """
        Nobody acts as another user then. The next access check says so.
        """
        session, _ = await session_of(other)
        async with connected(ORIGIN, user=demo, session=session) as socket:
            await socket.receive()
            await in_thread(disable, other)
            await reauthorise()
            assert 4401 == await socket.closed()

    async def test_acting_as_another_needs_an_origin(self, demo, other):
        """
        The cookie is that of the session's user.
        """
        session, _ = await session_of(other)
        _, (cookie, _) = await cookie_of(other)
        async with connected([cookie], user=demo, session=session) as socket:
            assert 4403 == await socket.closed()


class Broken(float):
    """A time that can't be compared."""

    def __gt__(self, other):
        raise ArithmeticError("broken")


class TestExpiry:
    async def test_it_ends_when_it_expires(self, demo):
        """
        The middleware may say when.
        """
        async with connected(ORIGIN, user=demo, expires_at=time.time() + 1000) as socket:
            await socket.receive()
            (served,) = housekeeping().sockets
            await housekeeping().check_clients()
            assert await socket.answers()
            served.scope["expires_at"] = time.time()
            assert 4401 == await socket.closed()

    @pytest.mark.parametrize("end", [0, None, "tomorrow", float("nan")])
    async def test_an_expired_user_is_refused(self, demo, end):
        """
        Whatever else the handshake has. Anything but a number counts as expired.
        """
        async with connected(await token_of(demo), user=demo, expires_at=end) as socket:
            assert 4401 == await socket.closed()

    async def test_a_socket_that_fails_keeps_no_other_from_its_heartbeat(self, demo, caplog):
        """
        It is closed with a code, and the error is logged.
        """
        async with connected([], user=demo, mark=0) as one, connected([], user=demo, mark=1) as two:
            for socket in (one, two):
                await socket.receive()
            first, second = housekeeping().sockets
            first.connection.heartbeat_at = second.connection.heartbeat_at = 0
            first.scope["expires_at"] = Broken()
            await housekeeping().check_clients()
            for socket in (one, two):
                assert "ping" == (await socket.receive())["type"]
            failing, other = (one, two) if first.scope["mark"] == 0 else (two, one)
            assert 4500 == await failing.closed()
            assert await other.answers()
        assert "broken" in caplog.text


@pytest.mark.parametrize(
    ("offered", "accepted"),
    [(["claims", "a.b.c"], "claims"), (["claims.a.b.c"], "claims.a.b.c"), ([""], None), ([], None)],
    ids=["name-and-token", "token", "empty", "none"],
)
async def test_a_subprotocol_is_accepted(demo, offered, accepted):
    """
    A browser needs one of those that it offers, from which a middleware may have taken a token.
    """
    async with connected(ORIGIN, user=demo, subprotocols=offered) as socket:
        assert accepted == socket.subprotocol
        assert "demo" == (await socket.receive())["user"]
