"""Coming in: hello, or a code that says why not; and signs of life."""

import asyncio

import pytest
import websockets

from apps.outbox.conf import outbox_settings
from tests.journeys.protocol.clients import PATH, Client, headers_of, serve
from tests.processes import Site
from tests.sockets import (
    database_away,
)
from tests.workers.clients import BareSocket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestConnect:
    async def test_hello_has_the_limits_in_force(self, connect, demo):
        """
        Who one is, and what may be done, as the settings of the process have it.
        """
        async with connect(additional_headers=await headers_of(demo)) as client:
            hello = await client.hear()
        assert hello.pop("server_time").endswith("Z")
        assert {
            "type": "hello",
            "protocol": 1,
            "user": "demo",
            "limits": {
                "subscriptions": 5,
                "command_bytes": 2000,
                "commands_per_second": 10,
                "retention_seconds": outbox_settings().RETENTION_SECONDS,
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
        Without a user, or from elsewhere, the socket is accepted and closed.
        """
        async with connect(**options) as client:
            with pytest.raises(websockets.ConnectionClosed):
                await client.hear()
            assert code == await client.closed()

    async def test_with_the_database_away(self, connect, demo):
        """
        Who can't be told from anybody else is told to come back.
        """
        headers = await headers_of(demo)
        async with database_away("daphne"), connect(additional_headers=headers) as client:
            assert 4500 == await client.closed()

    async def test_too_many_sockets(self, connect, enter, demo):
        """
        One more than a user may have is refused; the others stay.
        """
        async with enter(demo) as one, enter(demo), enter(demo):
            async with connect(additional_headers=await headers_of(demo)) as client:
                assert 4429 == await client.closed()
            assert {"type": "pong"} == await one.ask({"action": "ping"})


class TestHeartbeat:
    """Of a Daphne of its own: others are not to be closed for what a busy machine does."""

    @pytest.fixture
    def hasty(self, tmp_path):
        with Site(tmp_path) as site:
            serve(site, HEARTBEAT_SECONDS=2)
            yield site

    async def test_both_ask_and_both_answer(self, hasty, protocol, demo):
        """
        A client's ping is answered, with its ref; the server's comes by itself, and a pong needs no answer.
        """
        url = f"ws://127.0.0.1:{hasty.daphne_port}{PATH}"
        async with websockets.connect(url, additional_headers=await headers_of(demo)) as opened:
            client = Client(opened, protocol)
            assert "hello" == (await client.hear())["type"]
            assert {"type": "pong"} == await client.ask({"action": "ping"})
            assert {"type": "ping"} == await client.hear()
            await client.send({"action": "pong"})
            assert {"type": "pong", "ref": "r"} == await client.ask({"action": "ping", "ref": "r"})

    async def test_who_says_nothing_is_closed(self, hasty, protocol, demo):
        """
        Neither a frame nor a WebSocket pong for twice the time.
        """

        def listen(headers):
            with BareSocket(hasty.daphne_port, PATH, **headers) as silent:
                for frame in silent.frames():
                    if frame.data.startswith(b"{"):
                        protocol.look_at(frame.data.decode())
                return silent.close.code

        code = await asyncio.to_thread(listen, await headers_of(demo))
        protocol.look_at_close(code)
        assert 4408 == code
