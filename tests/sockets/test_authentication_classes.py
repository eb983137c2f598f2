"""Tests of sockets whose user an authentication class of DRF knows."""

import math
import time
from types import SimpleNamespace

import pytest
from django.core import signing
from django.core.exceptions import PermissionDenied
from rest_framework.authentication import (
    BaseAuthentication,
    BasicAuthentication,
    TokenAuthentication,
)
from rest_framework.exceptions import APIException, NotAuthenticated
from rest_framework.request import Request

from pillarbox.sockets.access.rest_authentication import expiry_of
from pillarbox.sockets.housekeeping.recurring import housekeeping
from tests.communicators import connected, drain, in_thread, signed_in, statements_of, token_of
from tests.sockets.claims import ClaimsAuthentication, DeviceAuthentication, claims_of, device_of
from tests.sockets.losing import cookie_of, delete_user, disable, ends, reauthorise, set_password
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class BearerToken(TokenAuthentication):
    keyword = "Bearer"


class Silent(BaseAuthentication):
    """A class that knows nobody, but has a user for them."""

    def authenticate(self, request):
        return None, None


class Converting(ClaimsAuthentication):
    """A class that has devices with the claims of users."""

    def authenticate(self, request):
        user, claims = super().authenticate(request)
        return device_of(user), claims


class Refusing(BaseAuthentication):
    """A class that refuses everybody."""

    error = NotAuthenticated

    def authenticate(self, request):
        raise self.error


class Denying(Refusing):
    error = PermissionDenied


class Failing(Refusing):
    """A class whose server is away."""

    error = APIException


@pytest.fixture
def classes(settings):
    """Return a function that sets the project's authentication classes."""

    def use(*classes):
        settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {
            "DEFAULT_AUTHENTICATION_CLASSES": [f"{c.__module__}.{c.__name__}" for c in classes]
        }

    return use


def bearer(text):
    return [(b"authorization", f"Bearer {text}".encode())]


class TestClasses:
    @pytest.fixture(autouse=True)
    def claims(self, classes):
        classes(TokenAuthentication, ClaimsAuthentication)

    async def test_a_class_opens_a_socket(self, demo):
        """
        It is asked again, and stays. The password doesn't matter to it.
        """
        async with connected(bearer(claims_of(demo, PATIENCE))) as socket:
            assert "demo" == (await socket.receive())["user"]
            await in_thread(set_password, demo)
            await drain()
            await reauthorise()
            assert await socket.answers()

    async def test_claims_that_are_refused_later_end_the_socket(self, settings, demo):
        """
        The class refuses the same request when it is asked again.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"REAUTHORISE_SECONDS": 0.1}
        async with connected(bearer(claims_of(demo, PATIENCE))) as socket:
            assert "hello" == (await socket.receive())["type"]
            settings.SECRET_KEY = "another"
            assert 4401 == await socket.closed()

    @pytest.mark.parametrize("how", [disable, delete_user])
    async def test_the_account_ends_the_socket(self, demo, how):
        """
        Even if the class doesn't ask the database.
        """
        async with connected(bearer(claims_of(demo, PATIENCE))) as socket:
            await socket.receive()
            assert await ends(socket, how, demo)

    async def test_claims_that_expire_end_the_socket(self, settings, demo):
        """
        The classes are asked again then, and not only after ``REAUTHORISE_SECONDS``.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"REAUTHORISE_SECONDS": 1000}
        claims = claims_of(demo, PATIENCE)
        headers = [(b"authorization", f"Bearer {claims}".encode())]
        async with connected(headers) as socket:
            await socket.receive()
            (served,) = housekeeping().sockets
            assert signing.loads(claims)["exp"] == served.access.ask_again_at
            served.access.ask_again_at = time.time()
            await housekeeping().check_clients()
            assert await socket.answers()  # the class still accepts them
            assert math.inf == served.access.ask_again_at
            settings.SECRET_KEY = "another"
            served.access.ask_again_at = time.time()
            assert 4401 == await socket.closed()

    async def test_a_disabled_user_is_refused(self, demo):
        """
        At the handshake, too.
        """
        await in_thread(disable, demo)
        async with connected(bearer(claims_of(demo, PATIENCE))) as socket:
            assert 4401 == await socket.closed()

    @pytest.mark.parametrize("seconds", [-1, None], ids=["expired", "forged"])
    async def test_refused_claims(self, demo, seconds):
        """
        The client gets the code. A session of the same browser counts before.
        """
        headers = bearer("forged" if seconds is None else claims_of(demo, seconds))
        async with connected(headers) as socket:
            assert 4401 == await socket.closed()
        _, cookie = await cookie_of(demo)
        async with connected([*headers, *cookie]) as socket:
            assert "demo" == (await socket.receive())["user"]

    async def test_a_token_needs_one_query(self, demo, other):
        """
        All tokens of DRF's own class are asked for together, and other classes one by one.
        """
        async with signed_in(demo):
            one = await statements_of("rights", reauthorise)
            async with signed_in(other):
                assert one == await statements_of("rights", reauthorise)
                async with connected(bearer(claims_of(demo, PATIENCE))) as socket:
                    await socket.receive()
                    assert one + 1 == await statements_of("rights", reauthorise)


@pytest.mark.parametrize("cls", [Refusing, Denying, Silent])
async def test_a_class_that_refuses(classes, demo, cls):
    """
    No later class is asked, and the socket is refused.
    """
    classes(cls, TokenAuthentication)
    async with connected(await token_of(demo)) as socket:
        assert 4401 == await socket.closed()


async def test_a_class_of_the_project_for_tokens(classes, demo):
    """
    Its own keyword counts, and the token is asked for again.
    """
    classes(BearerToken)
    ((_, header),) = await token_of(demo)
    async with connected(bearer(header.decode().partition(" ")[2])) as socket:
        assert "demo" == (await socket.receive())["user"]
        await in_thread(demo.auth_token.delete)
        await drain()
        assert 4401 == await socket.closed()


async def test_an_object_that_is_no_user(classes, demo):
    """
    A device is not the user with its primary key: not at the handshake, and not when it is asked again.
    """
    classes(DeviceAuthentication)
    async with connected([(b"authorization", f"Device {demo.pk}".encode())]) as socket:
        assert 4401 == await socket.closed()
    classes(ClaimsAuthentication)
    async with connected(bearer(claims_of(demo, PATIENCE))) as socket:
        await socket.receive()
        classes(Converting)
        await reauthorise()
        assert 4401 == await socket.closed()


async def test_without_a_class_for_tokens(classes, demo):
    """
    A token is refused then, as it is by the project's API.
    """
    classes(ClaimsAuthentication)
    async with connected(await token_of(demo)) as socket:
        assert 4401 == await socket.closed()


async def test_no_password_is_checked(classes, demo):
    """
    Not even the right one: attempts would have no limit.
    """
    classes(BasicAuthentication)
    await in_thread(set_password, demo)
    async with connected([(b"authorization", b"Basic ZGVtbzpvdGhlcg==")]) as socket:
        assert 4401 == await socket.closed()


async def test_a_class_that_fails(classes, demo):
    """
    The client may come back: nobody has refused it. So may one that is asked again.
    """
    async with signed_in(demo) as socket:
        classes(Failing)
        async with connected(await token_of(demo)) as refused:
            assert 4500 == await refused.closed()
        assert await socket.answers()
    classes(ClaimsAuthentication)
    async with connected(bearer(claims_of(demo, PATIENCE))) as socket:
        await socket.receive()
        classes(Failing)
        await housekeeping().reauthorise()
        assert 4500 == await socket.closed()


@pytest.mark.parametrize("raw", [b"\xff=%00", b"a=b"])
async def test_odd_handshakes(demo, raw):
    """
    Neither a query that is no UTF-8 nor a type of content disturbs.
    """
    headers = [(b"content-type", b"a/b; c*=none''d"), *await token_of(demo)]
    async with connected(headers, query_string=raw) as socket:
        assert "demo" == (await socket.receive())["user"]


@pytest.mark.parametrize(
    ("expected", "auth"),
    [
        (7, {"exp": 7}),
        (7.5, SimpleNamespace(payload={"exp": 7.5})),
        (math.inf, {"exp": "tomorrow"}),
        (math.inf, {}),
        (math.inf, None),
        (math.inf, "a.b.c"),
    ],
    ids=str,
)
def test_the_expiry_of_a_jwt(rf, expected, auth):
    """
    It is in the claims, if the class has returned them.
    """
    request = Request(rf.get("/"))
    request.auth = auth
    assert expected == expiry_of(request)
