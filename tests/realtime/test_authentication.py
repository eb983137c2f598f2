"""Who is at the other end: a token's user, or a session's; from an allowed origin."""

import pytest
from django.conf import settings as django_settings
from django.test import Client
from rest_framework.authtoken.models import Token

from apps.realtime.authentication import RefusedError, authenticate, refuse_origin
from apps.realtime.close_codes import CloseCode


def scope(**headers):
    return {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}


def session_of(user):
    client = Client()
    client.force_login(user)
    return f"{django_settings.SESSION_COOKIE_NAME}={client.cookies['sessionid'].value}"


class TestAuthenticate:
    pytestmark = pytest.mark.django_db

    def test_session(self, demo):
        """
        A signed-in browser is its user.
        """
        assert demo == authenticate(scope(cookie=session_of(demo)))

    def test_token(self, demo):
        """
        A DRF token is its user.
        """
        token = Token.objects.create(user=demo)
        assert demo == authenticate(scope(authorization=f"Token {token.key}"))

    @pytest.mark.parametrize("value", ["Token nonsense", "Token", "Basic eDp5", "Token é", ""])
    def test_wrong_token_is_nobody_even_with_a_session(self, demo, value):
        """
        A credential that is wrong is not made up for by another.
        """
        with pytest.raises(RefusedError) as caught:
            authenticate(scope(authorization=value, cookie=session_of(demo)))
        assert CloseCode.NOT_AUTHENTICATED == caught.value.code

    @pytest.mark.parametrize("cookie", ["", "sessionid=nonsense", "sessionid=", "é=\x01"])
    def test_no_session_is_nobody(self, cookie):
        """
        Without a session there is no user.
        """
        with pytest.raises(RefusedError):
            authenticate(scope(cookie=cookie))

    def test_a_changed_password_ends_the_session(self, demo):
        """
        A session is its user's only while the password is the one it began with.
        """
        cookie = session_of(demo)
        demo.set_password("other")
        demo.save()
        with pytest.raises(RefusedError):
            authenticate(scope(cookie=cookie))

    def test_a_disabled_user_is_nobody(self, demo):
        """
        Neither session nor token serve a user who was disabled.
        """
        cookie, token = session_of(demo), Token.objects.create(user=demo)
        demo.is_active = False
        demo.save()
        for headers in ({"cookie": cookie}, {"authorization": f"Token {token.key}"}):
            with pytest.raises(RefusedError):
                authenticate(scope(**headers))


class TestOrigin:
    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "http://localhost:8000", "cookie": "sessionid=x"},
            {"origin": "https://shop.example", "cookie": "sessionid=x"},
            {"origin": "http://[::1]:8000"},
            {"authorization": "Token x"},
            {"authorization": "Token x", "cookie": "sessionid=x"},
            {},
        ],
    )
    def test_allowed(self, settings, headers):
        """
        An allowed host, on any port, or a token without an origin.
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
            {"cookie": "sessionid=x"},
        ],
    )
    def test_refused(self, settings, headers):
        """
        Another host, none that can be read, or a cookie without an origin.
        """
        settings.ALLOWED_HOSTS = ["localhost", "[::1]"]
        with pytest.raises(RefusedError) as caught:
            refuse_origin(scope(**headers))
        assert CloseCode.ORIGIN_REFUSED == caught.value.code

    @pytest.mark.parametrize("debug", [True, False])
    def test_local_hosts_need_debug(self, settings, debug):
        """
        As for HTTP, with nothing allowed the local hosts are, in debug mode only.
        """
        settings.ALLOWED_HOSTS, settings.DEBUG = [], debug
        if debug:
            refuse_origin(scope(origin="http://localhost:8000"))
        else:
            with pytest.raises(RefusedError):
                refuse_origin(scope(origin="http://localhost:8000"))
