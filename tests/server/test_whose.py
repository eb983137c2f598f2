"""Tests of whose a socket is, with a real Daphne and real clients; and that no credential is in its logs."""

import asyncio
import json
import time
from base64 import b64encode

import pytest
from django.core import signing
from django.core.cache import cache
from django.test import Client
from rest_framework.authtoken.models import Token
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.communicators import drain, in_thread
from tests.processes import Site
from tests.sockets.claims import claims_of
from tests.sockets.losing import cookie_of, disable
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


class Server:
    """A Daphne that logs all that it can, and its clients."""

    def __init__(self, site, application):
        self.site = site
        site.environment |= {
            "LOG_LEVEL": "DEBUG",
            "DJANGO_SETTINGS_MODULE": "tests.server.claims_settings",
        }
        command = site.commands["daphne"].replace("config.asgi", application)
        site.commands["daphne"] = command.replace("--bind", "--verbosity 2 --bind")
        site.start("daphne")
        self.secrets = []

    def connect(self, *secrets, subprotocols=None, **headers):
        """Open a socket with these headers and subprotocols, which have secrets."""
        self.secrets += secrets
        return connect(
            f"ws://127.0.0.1:{self.site.daphne_port}/ws/notifications/",
            additional_headers=headers,
            subprotocols=subprotocols,
            open_timeout=PATIENCE,
        )


@pytest.fixture
def serve(tmp_path):
    """Return a function that starts a server. In the end, sockets are in its log, and no secret of theirs."""
    servers = []

    def serve(application):
        servers.append(Server(site, application))
        return servers[0]

    with Site(tmp_path) as site:
        yield serve
        log = site.log("daphne")
        assert "WSCONNECT" in log
        assert [] == [secret for secret in servers[0].secrets if secret in log]


async def user_of(socket):
    """Return the user that the server says hello to."""
    async with asyncio.timeout(PATIENCE):
        hello = json.loads(await socket.recv())
    assert "hello" == hello["type"]
    return hello["user"]


async def closed(socket):
    """Wait until the server closes a socket, and return the code."""
    async with asyncio.timeout(PATIENCE):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed:
            return socket.close_code


async def test_a_session_behind_a_proxy_with_a_password(serve, demo):
    """
    The proxy's own Authorization does no harm. The socket ends with its session.
    """
    server = serve("config.asgi")
    client, ((_, cookie), (_, origin)) = await cookie_of(demo)
    headers = {"Cookie": cookie.decode(), "Origin": origin.decode()}
    password = b64encode(b"proxy:opensesame").decode()
    headers["Authorization"] = f"Basic {password}"
    secrets = (cookie.decode().partition("=")[2], password, "opensesame")
    async with server.connect(*secrets, **headers) as socket:
        assert "demo" == await user_of(socket)
        await in_thread(client.logout)
        await drain()
        assert 4401 == await closed(socket)
    async with server.connect(*secrets, **headers) as socket:
        assert 4401 == await closed(socket)


async def test_the_user_of_a_middleware(serve, demo):
    """
    It takes claims from a subprotocol. The socket ends when these expire, and with its account. A token still
    opens one.
    """
    server = serve("tests.server.claims_application")
    token = await in_thread(Token.objects.create, user=demo)

    def claim(seconds):
        # A subprotocol has no colon.
        text = signing.dumps({"sub": "demo", "exp": time.time() + seconds}).replace(":", "~")
        return server.connect(text, subprotocols=["claims", text])

    async with (
        claim(PATIENCE) as lasting,
        server.connect(token.key, Authorization=f"Token {token.key}") as other,
    ):
        assert ["demo", "demo"] == [await user_of(lasting), await user_of(other)]
        assert ["claims", None] == [lasting.subprotocol, other.subprotocol]
        async with claim(2) as expiring:  # on a slow machine it is refused
            assert 4401 == await closed(expiring)
        await in_thread(disable, demo)
        await drain()
        assert [4401, 4401] == [await closed(lasting), await closed(other)]
    async with claim(PATIENCE) as refused:
        assert 4401 == await closed(refused)


async def test_an_authentication_class_of_drf(serve, demo):
    """
    The class is asked again, and so finds that its claims have expired, or that the user is disabled.
    """
    server = serve("config.asgi")

    def claim(seconds):
        text = claims_of(demo, seconds)
        return server.connect(text, Authorization=f"Bearer {text}")

    async with claim(PATIENCE) as lasting:
        assert "demo" == await user_of(lasting)
        async with claim(2) as expiring:  # on a slow machine it is refused
            assert 4401 == await closed(expiring)
        async with claim(-1) as refused:
            assert 4401 == await closed(refused)
        await in_thread(disable, demo)
        await drain()
        assert 4401 == await closed(lasting)


def fetch(browser):
    """Have a one-time token made for a browser, and return it."""
    return browser.post("/api/one-time-token/").json()["token"]


async def test_one_time_tokens(serve, demo):
    """
    Each opens one socket, as a subprotocol or in the first frame, without any header. Its session ends both.
    """
    server = serve("config.asgi")
    cache.clear()  # of earlier requests, which count
    browser = Client()
    await in_thread(browser.force_login, demo)
    first, second = [await in_thread(fetch, browser) for _ in range(2)]
    offered = f"pillarbox.token.{first}"
    async with (
        server.connect(first, subprotocols=[offered]) as one,
        server.connect(second, subprotocols=["pillarbox.token"]) as other,
    ):
        await other.send(json.dumps({"action": "authenticate", "token": second}))
        assert ["demo", "demo"] == [await user_of(one), await user_of(other)]
        assert [offered, "pillarbox.token"] == [one.subprotocol, other.subprotocol]
        async with (
            server.connect(subprotocols=[offered]) as again,
            server.connect("n0thing", subprotocols=["pillarbox.token"]) as forged,
        ):
            await forged.send(json.dumps({"action": "authenticate", "token": "n0thing"}))
            assert [4401, 4401] == [await closed(again), await closed(forged)]
        await in_thread(browser.logout)
        await drain()
        assert [4401, 4401] == [await closed(one), await closed(other)]
