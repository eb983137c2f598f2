"""Tests of authentication by token and session, and of allowed origins."""

import pytest
from channels.auth import get_user, login, logout
from django.conf import settings as django_settings
from django.contrib.auth import user_logged_in, user_logged_out
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.test import Client
from rest_framework.authtoken.models import Token

from pillarbox.close_codes import CloseCode
from pillarbox.models import NotificationOutbox
from pillarbox.sockets.access.authentication import authenticate
from pillarbox.sockets.access.handshake import HandshakeRefusedError, refuse_origin
from pillarbox.types.grants import session_digest
from tests.communicators import in_thread


def scope(**headers):
    """Return the scope of a handshake with these headers, from this site unless they say otherwise."""
    given = {"origin": "http://localhost", **headers}.items()
    sent = [(name.encode(), value.encode()) for name, value in given if value is not None]
    return {"type": "websocket", "path": "/ws/notifications/", "headers": sent}


def user_of(scope):
    """Return the user of a handshake."""
    user, _ = authenticate(scope)
    return user


def session_of(user):
    client = Client()
    client.force_login(user)
    return f"{django_settings.SESSION_COOKIE_NAME}={client.cookies['sessionid'].value}"


#: Values of a header that authenticate nobody.
WRONG = ["Token nonsense", "Token", "Basic eDp5", "Token é", ""]


class TestAuthenticate:
    pytestmark = pytest.mark.django_db

    def test_session(self, demo):
        """
        A session authenticates its user.
        """
        assert demo == user_of(scope(cookie=session_of(demo)))

    def test_token(self, demo):
        """
        A DRF token authenticates its user.
        """
        token = Token.objects.create(user=demo)
        assert demo == user_of(scope(authorization=f"Token {token.key}"))

    @pytest.mark.parametrize("value", WRONG)
    def test_a_wrong_token_is_refused(self, db, value):
        """
        So is a header with another scheme, as proxies send it.
        """
        with pytest.raises(HandshakeRefusedError) as caught:
            authenticate(scope(authorization=value))
        assert CloseCode.NOT_AUTHENTICATED == caught.value.code

    @pytest.mark.parametrize("value", WRONG)
    def test_a_wrong_token_does_no_harm_to_a_session(self, demo, value):
        """
        A proxy may send its own Authorization with each request.
        """
        assert demo == user_of(scope(authorization=value, cookie=session_of(demo)))

    def test_a_session_wins_over_a_token(self, demo, other):
        """
        As in DRF's default order.
        """
        token = Token.objects.create(user=other)
        headers = {"authorization": f"Token {token.key}", "cookie": session_of(demo)}
        assert demo == user_of(scope(**headers))

    def test_a_session_needs_an_origin(self, demo, other):
        """
        Without one, only a token counts. A browser always sends one.
        """
        cookie, token = session_of(demo), Token.objects.create(user=other)
        headers = {"origin": None, "cookie": cookie}
        assert other == user_of(scope(authorization=f"Token {token.key}", **headers))
        for code, more in (
            (CloseCode.ORIGIN_REFUSED, {}),
            (CloseCode.NOT_AUTHENTICATED, {"authorization": "Basic eDp5"}),
        ):
            with pytest.raises(HandshakeRefusedError) as caught:
                authenticate(scope(**headers, **more))
            assert code == caught.value.code

    @pytest.mark.parametrize(
        "cookie", ["", "sessionid=nonsense", "sessionid=", "é=\x01", r'sessionid="\000nonsense"']
    )
    def test_a_handshake_without_a_session_is_refused(self, cookie):
        """
        A handshake without token and session has no user.
        """
        with pytest.raises(HandshakeRefusedError):
            authenticate(scope(cookie=cookie))

    def test_a_changed_password_ends_the_session(self, demo):
        """
        A session is valid only with the password that it began with.
        """
        cookie = session_of(demo)
        demo.set_password("other")
        demo.save()
        with pytest.raises(HandshakeRefusedError):
            authenticate(scope(cookie=cookie))

    def test_a_disabled_user_is_refused(self, demo):
        """
        Neither the session nor the token of a disabled user is valid.
        """
        cookie, token = session_of(demo), Token.objects.create(user=demo)
        demo.is_active = False
        demo.save()
        for headers in ({"cookie": cookie}, {"authorization": f"Token {token.key}"}):
            with pytest.raises(HandshakeRefusedError):
                authenticate(scope(**headers))


@pytest.mark.django_db(transaction=True)
async def test_a_consumer_that_signs_out_ends_the_session(demo):
    """
    Nobody can connect with the session after a sign-out by `channels.auth`, which has no request.
    """
    client = Client()
    await in_thread(client.force_login, demo)
    await logout({"session": client.session, "user": demo})
    assert not await in_thread(Session.objects.exists)


@pytest.mark.django_db(transaction=True)
class TestChannelsAuth:
    """A project's own consumers may sign users in and out with `channels.auth`."""

    @pytest.fixture
    def session(self):
        session = SessionStore()
        session.create()
        return session

    @pytest.fixture
    def signed(self):
        """Record the users of Django's signals about sign-ins and sign-outs."""
        seen = []

        def see_in(user, **_):
            seen.append(("in", user))

        def see_out(user, **_):
            seen.append(("out", user))

        user_logged_in.connect(see_in)
        user_logged_out.connect(see_out)
        yield seen
        user_logged_in.disconnect(see_in)
        user_logged_out.disconnect(see_out)

    async def test_signs_in(self, session, demo, other):
        """
        The session becomes the user's. For another user there is a new session, and the first one ends.
        """
        known = {"session": session, "user": AnonymousUser()}
        await login(known, demo)
        first = session.session_key
        await in_thread(session.save)
        assert demo == await in_thread(user_of, cookie_of(first))
        await login(known, other)
        await in_thread(session.save)
        assert other == await in_thread(user_of, cookie_of(session.session_key))
        with pytest.raises(HandshakeRefusedError):
            await in_thread(user_of, cookie_of(first))
        ended = NotificationOutbox.objects.filter(object_id=session_digest(first))
        assert await in_thread(ended.exists)

    async def test_signs_in_the_user_of_the_scope(self, session, demo, signed):
        """
        Without a given user the scope's is signed in. Receivers of Django's signal are called once.
        """
        known = {"session": session, "user": demo}
        await login(known, None)
        await in_thread(session.save)
        assert demo == await in_thread(user_of, cookie_of(session.session_key))
        assert [("in", demo)] == signed

    async def test_sets_the_user_of_the_scope(self, session, demo):
        """
        The scope needs no user before.
        """
        known = {"session": session}
        assert AnonymousUser() == await get_user(known)
        await login(known, demo)
        assert demo == known["user"] == await get_user(known)
        await in_thread(session.save)
        assert demo == await in_thread(user_of, cookie_of(session.session_key))

    async def test_needs_a_session(self, demo):
        """
        Without a session nobody can sign in.
        """
        with pytest.raises(ValueError, match="session"):
            await login({"user": AnonymousUser()}, demo)

    async def test_needs_a_user(self, session):
        """
        Without a user, neither given nor in the scope, the session stays anonymous.
        """
        with pytest.raises(ValueError, match="User"):
            await login({"session": session}, None)
        with pytest.raises(HandshakeRefusedError):
            await in_thread(user_of, cookie_of(session.session_key))

    async def test_signs_out(self, session, demo, signed):
        """
        The scope has no user afterwards. Receivers of Django's signal learn who signed out.
        """
        known = {"session": session}
        await login(known, demo)
        await in_thread(session.save)
        key = session.session_key
        await logout(known)
        assert AnonymousUser() == known["user"] == await get_user(known)
        assert [("in", demo), ("out", demo)] == signed
        with pytest.raises(HandshakeRefusedError):
            await in_thread(user_of, cookie_of(key))

    @pytest.mark.parametrize("user", [{}, {"user": AnonymousUser()}])
    async def test_signs_out_without_a_sign_in(self, session, user, signed):
        """
        Receivers of Django's signal learn nothing, and the scope gets no user.
        """
        known = {"session": session, **user}
        await logout(known)
        assert session.is_empty()
        assert {"session": session, **user} == known
        assert [] == signed


def cookie_of(key):
    return scope(cookie=f"{django_settings.SESSION_COOKIE_NAME}={key}")


class TestOrigin:
    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "http://localhost:8000", "cookie": "sessionid=x"},
            {"origin": "https://shop.example", "cookie": "sessionid=x"},
            {"origin": "https://www.shop.example", "cookie": "sessionid=x"},
            {"origin": "http://[::1]:8000"},
            {"origin": None, "authorization": "Token x"},
            {"origin": None, "cookie": "sessionid=x"},
            {"origin": None},
        ],
    )
    def test_allowed(self, settings, headers):
        """
        An allowed host on any port, or none: then cookies don't count.
        """
        settings.ALLOWED_HOSTS = ["localhost", "[::1]", ".shop.example"]
        refuse_origin(scope(**headers))

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "http://evil.example", "cookie": "sessionid=x"},
            {"origin": "http://evil.example", "authorization": "Token x"},
            {"origin": "http://localhost.evil.example"},
            {"origin": "null"},
            {"origin": ""},
            {"origin": "http://[::1"},
            {"origin": "shop.example"},
            {"origin": "http://wild.example"},
            {"origin": "http://www.wild.example"},
        ],
    )
    def test_refused(self, settings, headers):
        """
        Another host, or an unreadable origin. A leading dot is the only wildcard.
        """
        settings.ALLOWED_HOSTS = ["localhost", "[::1]", ".shop.example", "*.wild.example"]
        with pytest.raises(HandshakeRefusedError) as caught:
            refuse_origin(scope(**headers))
        assert CloseCode.ORIGIN_REFUSED == caught.value.code

    def test_all_hosts_are_allowed(self, settings):
        """
        Any origin is allowed then.
        """
        settings.ALLOWED_HOSTS = ["*"]
        refuse_origin(scope(origin="http://evil.example", cookie="sessionid=x"))

    @pytest.mark.parametrize("debug", [True, False])
    def test_local_hosts_need_debug(self, settings, debug):
        """
        As for HTTP, local hosts are allowed only in debug mode if no hosts are configured.
        """
        settings.ALLOWED_HOSTS, settings.DEBUG = [], debug
        if debug:
            refuse_origin(scope(origin="http://localhost:8000"))
        else:
            with pytest.raises(HandshakeRefusedError):
                refuse_origin(scope(origin="http://localhost:8000"))
