"""Tests of handshakes, which lead to hello or to a close code, and of heartbeats."""

import asyncio

import pytest
import websockets

from pillarbox.conf import pillarbox_settings
from tests.bare_sockets import BareSocket
from tests.communicators import (
    database_away,
)
from tests.journeys.protocol.clients import PATH, Client, headers_of, serve
from tests.processes import Site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestConnect:
    async def test_hello_has_the_limits_in_force(self, connect, demo):
        """
        Hello has the user, and the limits in the settings of the process.
        """
        async with connect(additional_headers=await headers_of(demo)) as client:
            hello = await client.receive_any()
        assert hello.pop("server_time").endswith("Z")
        assert {
            "type": "hello",
            "protocol": 1,
            "user": "demo",
            "limits": {
                "subscriptions": 5,
                "command_bytes": 2000,
                "commands_per_second": 10,
                "retention_seconds": pillarbox_settings().RETENTION_SECONDS,
            },
            "heartbeat_seconds": 60,
            "reconnect": {"min_ms": 700, "max_ms": 9000},
        } == hello

    @pytest.mark.parametrize(
        ("code", "options"),
        [
            (4401, {}),
            (4401, {"additional_headers": {"Authorization": "Token none"}}),
            (4403, {"origin": "http://evil.example"}),
            (4403, {"additional_headers": {"Cookie": "sessionid=any"}}),
        ],
    )
    async def test_a_refusal_is_a_code_without_hello(self, connect, code, options):
        """
        Without a user, or from a foreign origin, the socket is accepted and then closed.
        """
        async with connect(**options) as client:
            with pytest.raises(websockets.ConnectionClosed):
                await client.receive_any()
            assert code == await client.closed()

    async def test_with_the_database_away(self, connect, demo):
        """
        If the database is down, a client can't be authenticated: it receives the code for reconnecting.
        """
        headers = await headers_of(demo)
        async with database_away("daphne"), connect(additional_headers=headers) as client:
            assert 4500 == await client.closed()

    async def test_too_many_sockets(self, connect, enter, demo):
        """
        A user's socket beyond the limit is refused; the others stay.
        """
        async with enter(demo) as one, enter(demo), enter(demo):
            async with connect(additional_headers=await headers_of(demo)) as client:
                assert 4429 == await client.closed()
            assert {"type": "pong"} == await one.ask({"action": "ping"})


class TestHeartbeat:
    """Tests with a Daphne of their own, so that its short heartbeat doesn't close sockets of other tests."""

    @pytest.fixture
    def hasty(self, tmp_path):
        with Site(tmp_path) as site:
            serve(site, HEARTBEAT_SECONDS=2)
            yield site

    async def test_both_ask_and_both_answer(self, hasty, protocol, demo):
        """
        The server answers a client's ping, with its ref. It sends pings itself, and doesn't answer pongs.
        """
        url = f"ws://127.0.0.1:{hasty.daphne_port}{PATH}"
        async with websockets.connect(url, additional_headers=await headers_of(demo)) as opened:
            client = Client(opened, protocol)
            assert "hello" == (await client.receive_any())["type"]
            assert {"type": "pong"} == await client.ask({"action": "ping"})
            assert {"type": "ping"} == await client.receive_any()
            await client.send({"action": "pong"})
            assert {"type": "pong", "ref": "r"} == await client.ask({"action": "ping", "ref": "r"})

    async def test_a_silent_client_is_closed(self, hasty, protocol, demo):
        """
        A client that sends neither a frame nor a WebSocket pong for two heartbeats is closed.
        """

        def listen(headers):
            with BareSocket(hasty.daphne_port, PATH, **headers) as silent:
                for frame in silent.frames():
                    if frame.data.startswith(b"{"):
                        protocol.check_frame(frame.data.decode())
                return silent.close.code

        code = await asyncio.to_thread(listen, await headers_of(demo))
        protocol.check_close_code(code)
        assert 4408 == code
