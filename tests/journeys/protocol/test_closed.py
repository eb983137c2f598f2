"""Tests of sockets that the server ends: each has its close code."""

import asyncio
import json
import os
import signal
import socket

import pytest
import websockets
from django.test import Client as Browser

from tests.bare_sockets import BareSocket
from tests.communicators import (
    drain,
    in_thread,
    rename,
    subject,
)
from tests.journeys.deliveries import figure_becomes
from tests.journeys.protocol.clients import PATH, Client, headers_of, serve
from tests.processes import Site
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestClosed:
    @pytest.mark.parametrize("is_session", [True, False], ids=["logout", "deactivation"])
    async def test_a_session_that_ends(self, connect, site, demo, is_session):
        """
        A logout ends the sockets of its session; disabling a user ends all of the user's sockets.
        """
        browser = Browser()
        await in_thread(browser.force_login, demo)
        cookie = f"sessionid={browser.cookies['sessionid'].value}"
        options = {"additional_headers": {"Cookie": cookie}, "origin": "http://localhost:8000"}
        async with connect(**options) as client:
            assert "demo" == (await client.receive_any())["user"]
            demo.is_active = False
            await in_thread(browser.logout if is_session else demo.save)
            await drain()
            assert 4401 == await client.closed()

    @pytest.mark.parametrize(
        ("code", "message", "is_text"),
        [(1007, b'"\xff"', True), (1009, "x" * 2001, None), (1009, ["x" * 1500] * 2, None)],
        ids=["not UTF-8", "too large", "too large in pieces"],
    )
    async def test_a_message_that_can_t_be_a_command(self, enter, demo, code, message, is_text):
        """
        The server closes with a code of the WebSocket protocol.
        """
        async with enter(demo) as client:
            await client.socket.send(message, text=is_text)
            assert code == await client.closed()

    async def test_an_invalid_frame(self, site, protocol, demo):
        """
        A frame with an unknown opcode ends the socket.
        """

        def send_invalid(headers):
            with BareSocket(site.daphne_port, PATH, **headers) as client:
                hello = next(client.frames())
                client.connection.sendall(b"\x83\x80\x00\x00\x00\x00")
                for _ in client.frames():
                    pass
                return hello.data.decode(), client.close.code

        hello, code = await asyncio.to_thread(send_invalid, await headers_of(demo))
        assert "hello" == protocol.check_frame(hello)["type"]
        protocol.check_close_code(code)
        assert 1002 == code

    async def test_repeated_nonsense(self, enter, demo):
        """
        A few invalid commands in a row end the socket. A valid one in between starts the count anew.
        """
        async with enter(demo) as client:
            for frame in ("[", "[", '{"action": "ping"}', "[", "["):
                await client.socket.send(frame)
                await client.receive()
            await client.socket.send("[")
            assert "malformed" == (await client.receive())["code"]
            assert 4400 == await client.closed()

    @pytest.mark.parametrize(
        "command", [{"action": "ping"}, {"object_type": "ghost"}], ids=["valid", "invalid"]
    )
    async def test_commands_without_end(self, enter, demo, command):
        """
        A client that goes on sending is closed after a while, whether its commands are valid or not.
        """
        async with enter(demo) as client:
            with pytest.raises(websockets.ConnectionClosed):
                async with asyncio.timeout(PATIENCE):
                    while True:
                        await client.ask(command)
            assert 4429 == await client.closed()

    async def test_commands_without_waiting(self, enter, demo):
        """
        A client that doesn't wait for answers is closed.
        """
        async with enter(demo) as client:
            for _ in range(500):
                await client.send({"action": "ping"})
            assert 4429 == await client.closed()

    async def test_a_slow_reader(self, site, enter, demo, ticket):
        """
        A client that reads nothing is cut off. It can still read the frames sent before, and the close code.
        """
        ticket.description = "x" * 2_000_000  # some of these exceed the connection's buffers
        await rename(ticket, "Long")
        async with enter(demo, max_queue=1, max_size=None, ping_interval=None) as client:
            connection = client.socket.transport.get_extra_info("socket")
            # Otherwise the kernel's buffer may hold all of it.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            for _ in range(8):
                await client.send({**subject(ticket), "snapshot": True})
            await figure_becomes(site, "subscriptions", bool)
            # The subscription ends once Daphne has cut the client off.
            await figure_becomes(site, "subscriptions", lambda count: not count)
            assert 4503 == await client.closed()

    async def test_a_restart(self, site, enter, demo):
        """
        On SIGTERM each socket is closed with the code for reconnecting, and with the window for that.
        """
        logged = len(site.log("daphne"))
        async with enter(demo) as client:
            daphne = site.running["daphne"]
            os.kill(daphne.pid, signal.SIGTERM)
            assert 1012 == await client.closed()
        assert 0 == await in_thread(daphne.wait, PATIENCE)
        window = {"min_ms": 700, "max_ms": 9000}
        assert {"reconnect": window} == json.loads(client.socket.close_reason)
        assert "Traceback" not in site.log("daphne")[logged:]
        await in_thread(site.start, "daphne")

    async def test_a_socket_ends_after_a_day(self, tmp_path, protocol, demo):
        """
        Daphne ends every socket after a day, which here is shortened to a second.
        """
        with Site(tmp_path) as site:
            site.commands = {
                "daphne": site.commands["daphne"].replace("-m pillarbox.server", SHORT_DAY)
            }
            await in_thread(serve, site)
            url = f"ws://127.0.0.1:{site.daphne_port}{PATH}"
            async with websockets.connect(url, additional_headers=await headers_of(demo)) as opened:
                assert 1000 == await Client(opened, protocol).closed()
            assert "Traceback" not in site.log("daphne")  # pragma: no cover  # 3.11 can't trace it


SHORT_DAY = "-m pillarbox.server --websocket_timeout 1"
