"""Tests of one-time tokens: their endpoint, and the sockets that they open."""

import math
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256

import pytest
from django.conf import settings as django_settings
from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import F
from django.test import Client
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter
from rest_framework.authtoken.models import Token
from rest_framework.request import Request
from rest_framework.test import APIClient

from pillarbox.models import OneTimeToken
from pillarbox.sockets.access.one_time_tokens import _encrypted, make_token, take
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.stream.retention import prune
from tests.communicators import connected, drain, in_thread
from tests.database import wait_for_a_waiting_lock
from tests.sockets.claims import ClaimsAuthentication, DeviceAuthentication, claims_of
from tests.sockets.losing import delete_user, disable, ends, reauthorise, set_password
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

URL = "/api/one-time-token/"
BASIC = "rest_framework.authentication.BasicAuthentication"
OWN = [f"{one.__module__}.{one.__name__}" for one in (ClaimsAuthentication, DeviceAuthentication)]


@pytest.fixture(autouse=True)
def settings(settings):
    """Accept all kinds of credentials, and forget earlier requests."""
    known = settings.REST_FRAMEWORK
    classes = [*known["DEFAULT_AUTHENTICATION_CLASSES"], *OWN, BASIC]
    settings.REST_FRAMEWORK = known | {"DEFAULT_AUTHENTICATION_CLASSES": classes}
    cache.clear()
    return settings


def by_session(user):
    browser = Client()
    browser.force_login(user)
    return browser.post(URL), browser


def by_header(value):
    return APIClient().post(URL, headers={"Authorization": value})


def by_token(user):
    return by_header(f"Token {Token.objects.get_or_create(user=user)[0].key}"), None


def by_claims(user):
    return by_header(f"Bearer {claims_of(user, PATIENCE)}"), None


def by_password(user):
    set_password(user)
    return by_header(f"Basic {b64encode(f'{user.username}:other'.encode()).decode()}"), None


def by_address(user):
    return APIClient().post(f"{URL}?note=%C3%A9&claims={claims_of(user, PATIENCE)}"), None


WAYS = [by_session, by_token, by_claims, by_address, by_password]


async def token_of(user, way=by_session):
    """Return a new token of a user."""
    answer, _ = await in_thread(way, user)
    assert 201 == answer.status_code
    return answer.json()["token"]


def offering(*tokens, **scope):
    """Open a socket with tokens as subprotocols, as a page of another site would: without cookies."""
    offered = [f"pillarbox.token.{token}" for token in tokens]
    return connected([(b"origin", b"null")], subprotocols=offered, **scope)


class TestEndpoint:
    def test_answers_with_a_token(self, demo):
        """
        It is never cached. The database has neither the token nor the session that it stands for.
        """
        answer, browser = by_session(demo)
        assert {"token", "seconds"} == {*answer.json()}
        assert (201, 30, "no-store") == (
            answer.status_code,
            answer.json()["seconds"],
            answer["Cache-Control"],
        )
        row = OneTimeToken.objects.get()
        stored = f"{row}{bytes(row.sealed)!r}"
        session = browser.cookies[django_settings.SESSION_COOKIE_NAME].value
        assert answer.json()["token"] not in stored
        assert session not in stored

    @pytest.mark.parametrize("value", ["", "Token none", "Bearer none", "Basic eDp5"])
    def test_refuses_strangers(self, db, value):
        """
        It accepts what the project's API accepts.
        """
        assert by_header(value).status_code in {401, 403}
        assert not OneTimeToken.objects.exists()

    def test_refuses_objects_that_are_no_users(self, demo):
        """
        A device, say, whose primary key is that of a user.
        """
        assert 403 == by_header(f"Device {demo.pk}").status_code
        assert not OneTimeToken.objects.exists()

    def test_needs_a_csrf_token(self, demo):
        """
        Another site's page can't have a token made.
        """
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(demo)
        assert 403 == browser.post(URL).status_code

    def test_is_throttled(self, demo):
        """
        By user.
        """
        browser = Client()
        browser.force_login(demo)
        assert [201] * 60 + [429] == [browser.post(URL).status_code for _ in range(61)]

    def test_expired_tokens_are_pruned(self, demo):
        """
        Valid ones stay.
        """
        by_session(demo)
        prune(using=DEFAULT_DB_ALIAS)
        assert OneTimeToken.objects.exists()
        expire()
        prune(using=DEFAULT_DB_ALIAS)
        assert not OneTimeToken.objects.exists()


def expire():
    OneTimeToken.objects.update(expires_at=F("expires_at") - timedelta(seconds=30))


def test_one_of_two_that_race_takes_a_token(demo):
    """
    The other one waits for its transaction, and then finds no token.
    """
    answer, _ = by_session(demo)
    token = answer.json()["token"]

    def take_late():
        try:
            with transaction.atomic():
                return take(token)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            assert take(token) is not None
            late = other.submit(take_late)
            wait_for_a_waiting_lock()
        assert late.result(PATIENCE) is None


class TestForgery:
    """Who can write to the database, but doesn't know `SECRET_KEY`, opens no socket."""

    def test_of_a_changed_row(self, demo):
        """
        Every bit is signed. The token is used up.
        """
        token = by_session(demo)[0].json()["token"]
        row = OneTimeToken.objects.get()
        (first, *rest) = bytes(row.sealed)
        row.sealed = bytes([first ^ 1, *rest])
        row.save()
        with transaction.atomic():
            assert take(token) is None
        assert not OneTimeToken.objects.exists()

    def test_of_a_row_of_ones_own(self, settings, demo):
        """
        Its content, though made as here, has another signature.
        """
        settings.SECRET_KEY, known = "another", settings.SECRET_KEY
        token = by_session(demo)[0].json()["token"]
        settings.SECRET_KEY = known
        with transaction.atomic():
            assert take(token) is None

    def test_by_the_content_of_another_row(self, demo, other):
        """
        Its signature is for one row, even if its token is known.
        """
        token, known = (by_session(user)[0].json()["token"] for user in (demo, other))
        rows = {row.digest: row for row in OneTimeToken.objects.all()}
        own, theirs = (rows[sha256(one.encode()).hexdigest()] for one in (known, token))
        theirs.sealed = _encrypted(_encrypted(bytes(own.sealed), known), token)
        theirs.save()
        with transaction.atomic():
            assert take(token) is None

    def test_after_a_new_secret_key(self, settings, demo):
        """
        A token of before is valid as long as Django accepts the older key.
        """
        token = by_session(demo)[0].json()["token"]
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [settings.SECRET_KEY]
        with transaction.atomic():
            assert take(token)[0] == str(demo.pk)


class TestSubprotocol:
    @pytest.mark.parametrize("way", WAYS)
    async def test_opens_one_socket(self, demo, way):
        """
        Whatever the token was made from, from any origin. The server accepts the subprotocol.
        """
        token = await token_of(demo, way)
        async with offering(token) as socket:
            assert f"pillarbox.token.{token}" == socket.subprotocol
            assert "demo" == (await socket.receive())["user"]
            await reauthorise()
            assert await socket.answers()
        async with offering(token) as socket:
            assert 4401 == await socket.closed()

    async def test_wins_over_the_user_of_the_scope(self, demo, other):
        """
        The client has asked for it.
        """
        async with offering(await token_of(demo), user=other) as socket:
            assert "demo" == (await socket.receive())["user"]
        async with offering("none", user=other) as socket:
            assert 4401 == await socket.closed()

    async def test_expires(self, demo):
        """
        After some seconds.
        """
        token = await token_of(demo)
        await in_thread(expire)
        async with offering(token) as socket:
            assert 4401 == await socket.closed()

    async def test_of_an_ended_session(self, demo):
        """
        It is refused, and used up.
        """
        answer, browser = await in_thread(by_session, demo)
        await in_thread(browser.logout)
        async with offering(answer.json()["token"]) as socket:
            assert 4401 == await socket.closed()
        assert not await in_thread(OneTimeToken.objects.exists)

    async def test_ends_with_its_session(self, demo):
        """
        At once. A socket of another session stays.
        """
        answer, browser = await in_thread(by_session, demo)
        async with (
            offering(answer.json()["token"]) as socket,
            offering(await token_of(demo)) as other,
        ):
            for each in (socket, other):
                assert "hello" == (await each.receive())["type"]
            await in_thread(browser.logout)
            await drain()
            assert 4401 == await socket.closed()
            assert await other.answers()

    async def test_ends_with_the_token_that_it_was_made_from(self, demo):
        """
        At once.
        """
        async with offering(await token_of(demo, by_token)) as socket:
            await socket.receive()
            await in_thread(Token.objects.all().delete)
            await drain()
            assert 4401 == await socket.closed()

    async def test_ends_with_the_password_that_it_was_made_from(self, demo):
        """
        Passwords are not kept, so any other one ends it.
        """
        async with offering(await token_of(demo, by_password)) as socket:
            await socket.receive()
            await in_thread(demo.set_unusable_password)
            await in_thread(demo.save)
            await drain()
            assert 4401 == await socket.closed()

    async def test_ends_when_the_classes_refuse(self, settings, demo):
        """
        The request that made it is asked again.
        """
        async with offering(await token_of(demo, by_claims)) as socket:
            await socket.receive()
            settings.SECRET_KEY = "another"
            await reauthorise()
            assert 4401 == await socket.closed()

    @pytest.mark.parametrize("way", WAYS)
    async def test_ends_with_the_claims_that_it_was_made_from(self, demo, way):
        """
        The classes are asked again when the claims expire. Others don't say when they do.
        """
        async with offering(await token_of(demo, way)) as socket:
            await socket.receive()
            (served,) = housekeeping().sockets
            has_claims = way in (by_claims, by_address)
            assert has_claims == (served.access.ask_again_at < math.inf)

    @pytest.mark.parametrize("end", [0, None, "tomorrow"])
    async def test_of_a_handshake_that_has_expired(self, demo, end):
        """
        The project's middleware has said so. It needs no token that is used up.
        """
        token = await token_of(demo)
        async with offering(token, expires_at=end) as socket:
            assert 4401 == await socket.closed()
        async with offering(token) as socket:
            assert "demo" == (await socket.receive())["user"]

    @pytest.mark.parametrize("how", [disable, delete_user])
    @pytest.mark.parametrize("way", WAYS)
    async def test_ends_with_the_account(self, demo, way, how):
        """
        Whatever the token was made from.
        """
        async with offering(await token_of(demo, way)) as socket:
            await socket.receive()
            assert await ends(socket, how, demo)

    async def test_is_bound_to_its_user(self, demo, other):
        """
        The credentials may have become another user's.
        """
        token = await token_of(demo, by_token)
        await in_thread(Token.objects.update, user=other)
        async with offering(token) as socket:
            assert 4401 == await socket.closed()


def awaiting():
    return connected([(b"origin", b"null")], subprotocols=["pillarbox.token"])


class TestFirstFrame:
    async def test_opens_one_socket(self, demo):
        """
        Only then does the server say hello. It serves the frames that follow.
        """
        async with awaiting() as socket:
            assert "pillarbox.token" == socket.subprotocol
            token = await token_of(demo)
            await socket.send({"action": "authenticate", "token": token})
            await socket.send({"action": "ping"})
            assert "demo" == (await socket.receive())["user"]
            assert {"type": "pong"} == await socket.receive()

    @pytest.mark.parametrize(
        "frame",
        [
            {"action": "ping"},
            {"action": "authenticate"},
            {"action": "authenticate", "token": 7},
            {"action": "authenticate", "token": "\ud800"},
            "nonsense",
            b"binary",
        ],
        ids=["command", "nothing", "number", "surrogate", "nonsense", "binary"],
    )
    async def test_anything_else_is_refused(self, demo, frame):
        """
        Nothing is served before.
        """
        async with awaiting() as socket:
            await socket.send(frame)
            assert 4401 == await socket.closed()

    async def test_it_must_come_in_time(self, settings, demo):
        """
        As must a handshake. Nothing that comes later counts.
        """
        token = await token_of(demo)
        settings.PILLARBOX = settings.PILLARBOX | {"HANDSHAKE_SECONDS": 0.1}
        async with awaiting() as socket:
            assert 4401 == await socket.closed()
            await socket.send({"action": "authenticate", "token": token})
            assert await socket.sent_nothing_more()

    async def test_a_client_that_leaves(self, demo):
        """
        The socket ends without a word.
        """
        async with awaiting() as socket:
            assert await socket.sent_nothing_more()


def test_an_error_report_shows_no_credentials(rf, demo, settings):
    """
    If a token can't be made, Django's report has neither the token nor the session among the variables.
    """
    settings.DEBUG = False
    browser = Client()
    browser.force_login(demo)
    request = Request(rf.post(URL))
    request.session, request.user = browser.session, demo
    settings.PILLARBOX = settings.PILLARBOX | {"ONE_TIME_TOKEN_SECONDS": 10**18}
    with pytest.raises(OverflowError) as raised:
        make_token(request)
    failed = rf.get("/")
    failed.exception_reporter_filter = SafeExceptionReporterFilter()
    reporter = ExceptionReporter(failed, raised.type, raised.value, raised.tb)
    frames = reporter.get_traceback_data()["frames"]
    (shown,) = (dict(frame["vars"]) for frame in frames if frame["function"] == "make_token")
    assert {"token", "credentials", "content"} <= {*shown}
    assert request.session.session_key not in str(shown)
    assert all("*****" in value for value in shown.values())
