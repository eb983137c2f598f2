"""Tests of the Python client against scripted servers."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import pytest
from django.conf import settings
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidURI

from pillarbox.client import reconnection
from pillarbox.client.client import Client, RefusedError
from pillarbox.client.cursor import (
    Notification,
    Position,
    Resynced,
    Snapshot,
    Subscribed,
    Unsubscribed,
)
from pillarbox.client.reconnection import SHORTEST_PAUSE, ClosedError, pause
from pillarbox.client.subscription import QUEUE_ITEMS
from tests.waiting import PATIENCE, until

AT_ONCE = (0.001, 0.01)
HELLO = {"type": "hello", "heartbeat_seconds": 25, "reconnect": {"min_ms": 500, "max_ms": 20000}}


class Server:
    """A server with a script for each socket. The last script serves all later sockets, too."""

    def __init__(self, *scripts, refusals=()):
        self.scripts, self.refusals = list(scripts), list(refusals)
        self.commands = []
        self.sockets = 0

    @asynccontextmanager
    async def running(self):
        async with serve(self._serve, "127.0.0.1", 0, process_request=self._refuse) as server:
            port = server.sockets[0].getsockname()[1]
            yield f"ws://127.0.0.1:{port}/ws/notifications/"

    def _refuse(self, connection, request):
        if self.refusals:
            return connection.respond(HTTPStatus(self.refusals.pop(0)), "")
        return None

    async def _serve(self, socket):
        self.sockets += 1
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        with suppress(ConnectionClosed):
            await script(Conversation(self, socket))
            await socket.wait_closed()


class Conversation:
    """The server's side of one socket."""

    def __init__(self, server, socket):
        self.server, self.socket = server, socket

    async def send(self, *frames):
        for frame in frames:
            await self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def receive(self):
        """Return the client's next command."""
        command = json.loads(await self.socket.recv())
        self.server.commands.append(command)
        return command

    async def answer(self, offset=0, epoch="e", **more):
        """Confirm each entry of the client's next subscribe request."""
        command = await self.receive()
        for index, entry in enumerate(command["subscriptions"]):
            about = {"object_type": entry["object_type"], "id": entry["id"], "index": index}
            since = entry.get("since", {"epoch": epoch, "offset": offset})
            recovered = {"recovered": True} if "since" in entry else {}
            frame = {"type": "subscribed", "ref": command["ref"], **about, **since, **recovered}
            await self.send({**frame, **more})

    async def greet(self, **more):
        """Send the hello."""
        await self.send({**HELLO, **more})


def update(offset, **more):
    about = {"object_type": "ticket", "id": "a", "event_id": str(offset), "at": "now"}
    position = {"epoch": "e", "offset": offset}
    return {"type": "UPDATE_TICKET", "payload": {}, **about, **position, **more}


def at(offset):
    return Position(epoch="e", offset=offset)


@pytest.fixture(autouse=True)
async def patience():
    """Limit the duration of each test."""
    async with asyncio.timeout(PATIENCE):
        yield


async def offsets(subscription, count):
    """Return the offsets of the next ``count`` notifications."""
    found = []
    while len(found) < count:
        item = await anext(subscription)
        found += [item.position.offset] if isinstance(item, Notification) else []
    return found


async def steady(talk):
    """Confirm one subscription, and send it five notifications."""
    await talk.greet()
    await talk.answer()
    for offset in range(1, 6):
        await talk.send(update(offset))


async def test_subscriptions_share_a_socket():
    """
    Each subscription receives its own notifications, collections included; pings are answered.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        await talk.answer(offset=7)
        ours = {"object_type": "project.tickets", "id": "p"}
        await talk.send(update(1), update(8, subscription=ours), {"type": "ping"}, update(2))
        assert {"action": "pong"} == await talk.receive()
        await talk.send({"type": "weather"}, update(3, colour="red"), update(1, subscription="odd"))

    server = Server(script)
    async with server.running() as url, Client(url) as client:
        ticket = await client.subscribe("ticket", "a")
        collection = await client.subscribe("project.tickets", "p")
        assert [1, 2, 3] == await offsets(ticket, 3)
        assert Subscribed(position=at(7)) == await anext(collection)
        assert [8] == await offsets(collection, 1)
        with pytest.raises(ValueError, match="subscribed to ticket a already"):
            await client.subscribe("ticket", "a")
    assert (1, 1, 0) == (server.sockets, client.sockets, client.breaches)
    assert client.received > 0


async def test_a_new_socket_resumes():
    """
    One command resumes each subscription from its position; repeated notifications are dropped.
    """

    async def cut(talk):
        await talk.greet()
        await talk.answer()
        await talk.send(update(1), update(2))
        talk.socket.transport.abort()

    async def again(talk):
        await talk.greet()
        await talk.send(update(3))  # before it confirms
        await talk.answer()
        await talk.send(update(2), update(3), update(3), update(4))

    server = Server(cut, again)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        one = await client.subscribe("ticket", "a")
        items = [await anext(one) for _ in range(6)]
        assert 0 == client.losses
    kinds = [Subscribed, Notification, Notification, Subscribed, Notification, Notification]
    assert kinds == [type(item) for item in items]
    assert [0, 1, 2, 2, 3, 4] == [item.position.offset for item in items]
    assert {"epoch": "e", "offset": 2} == server.commands[-1]["subscriptions"][0]["since"]
    assert 2 == client.sockets


async def test_a_given_position_is_resumed_from():
    """
    A stored position is resumed from. If the server can't, the client gets a resync.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        await talk.answer(offset=9, epoch="f", recovered=False, payload={"a": 1})

    server = Server(script)
    async with server.running() as url, Client(url) as client:
        one = await client.subscribe("ticket", "a", since=at(3), snapshot=True)
        assert Subscribed(position=at(3), recovered=True) == await anext(one)
        other = await client.subscribe("ticket", "b", since=at(3))
        item = await anext(other)
    assert Resynced(position=at(3), reason="unrecoverable", payload={"a": 1}) == item
    assert [True, None] == [
        command["subscriptions"][0].get("snapshot") for command in server.commands
    ]


async def test_pages_of_a_snapshot():
    """
    Pages arrive one by one, though they have the ref of an answer.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        page = {"type": "snapshot", "ref": talk.server.commands[-1]["ref"], "index": 0}
        await talk.send({**page, "items": [1], "done": False}, {**page, "items": [2], "done": True})

    async with Server(script).running() as url, Client(url) as client:
        pages = await client.subscribe("project.tickets", "p", snapshot=True)
        assert Subscribed(position=at(0)) == await anext(pages)
        assert Snapshot(items=[1], is_last=False) == await anext(pages)
        assert Snapshot(items=[2], is_last=True) == await anext(pages)


async def test_refusals_are_raised():
    """
    A refusal raises in the caller. Other subscriptions and the socket go on, and nothing of it is kept.
    """

    async def script(talk):
        await talk.greet()
        for code in ("not_found", "not_found"):
            command = await talk.receive()
            await talk.send(
                {"type": "error", "code": "malformed", "detail": "No ref.", "temporary": False},
                {"type": "error", "ref": command["ref"], "code": code, "detail": "No such object."},
            )
        await talk.answer()

    server = Server(script)
    async with server.running() as url, Client(url) as client:
        for _ in range(2):
            with pytest.raises(RefusedError, match="not_found: No such object") as caught:
                await client.subscribe("ticket", "a")
        await client.subscribe("ticket", "a")
    assert ("not_found", 1) == (caught.value.code, server.sockets)


async def test_a_temporary_refusal_is_retried():
    """
    The request is sent again after the server's delay, or the client's own, unless the caller gave up.
    """

    async def script(talk):
        await talk.greet()
        for more in ({"retry_after_ms": 20}, {}):
            command = await talk.receive()
            error = {"type": "error", "ref": command["ref"], "index": 0, "code": "unavailable"}
            await talk.send({**error, "detail": "Later.", "temporary": True, **more})
        await talk.answer()
        command = await talk.receive()
        error = {"type": "error", "ref": command["ref"], "code": "unavailable", "temporary": True}
        await talk.send({**error, "retry_after_ms": 300})

    server = Server(script)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        await client.subscribe("ticket", "a")
        waiting = asyncio.create_task(client.subscribe("ticket", "b"))
        await until(lambda: client._retries)
        waiting.cancel()
        await until(lambda: not client._retries)
    assert [["a"], ["a"], ["a"], ["b"]] == [
        [entry["id"] for entry in command["subscriptions"]] for command in server.commands
    ]


async def test_an_answer_may_come_too_late():
    """
    The answer to a cancelled request is ignored, and a planned retry ends with its socket.
    """

    async def script(talk):
        await talk.greet()
        command = await talk.receive()
        assert "unsubscribe" == (await talk.receive())["action"]
        await talk.send({"type": "error", "ref": command["ref"], "code": "not_found"})
        command = await talk.receive()
        later = {"code": "unavailable", "temporary": True, "retry_after_ms": 3_600_000}
        await talk.send({"type": "error", "ref": command["ref"], **later})
        await talk.socket.close(1012)

    server = Server(script, steady)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        waiting = asyncio.create_task(client.subscribe("ticket", "b"))
        await until(lambda: server.commands)
        before = client.received
        waiting.cancel()
        await until(lambda: client.received != before)
        assert [1] == await offsets(await client.subscribe("ticket", "a"), 1)
        assert not client._retries


@pytest.mark.parametrize("reason", ["deleted", "revoked"])
async def test_the_server_ends_a_subscription(reason):
    """
    `Unsubscribed` is the last item; the socket stays, and the client may subscribe again.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        gone = {"type": "unsubscribed", "object_type": "ticket", "id": "a", "reason": reason}
        await talk.send(update(1), gone, update(2))
        await talk.answer(offset=4)

    server = Server(script)
    async with server.running() as url, Client(url) as client:
        items = [item async for item in await client.subscribe("ticket", "a")]
        assert Unsubscribed(reason=reason) == items[-1]
        assert 3 == len(items)
        assert Subscribed(position=at(4)) == await anext(await client.subscribe("ticket", "a"))


async def test_a_refused_resume_ends_the_subscription():
    """
    If the object was deleted or hidden meanwhile, `Unsubscribed` is the last item.
    """

    async def refuse(talk):
        await talk.greet()
        command = await talk.receive()
        await talk.send({"type": "error", "ref": command["ref"], "index": 0, "code": "not_found"})

    async def cut(talk):
        await talk.greet()
        await talk.answer()
        await talk.socket.close(1012)

    async with Server(cut, refuse).running() as url, Client(url, window=AT_ONCE) as client:
        items = [item async for item in await client.subscribe("ticket", "a")]
    assert [Subscribed(position=at(0)), Unsubscribed(reason="not_found")] == items


async def test_unsubscribing():
    """
    It ends the iteration and tells the server, and the client may subscribe again.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        await talk.send(update(1))
        assert "unsubscribe" == (await talk.receive())["action"]
        about = {"object_type": "ticket", "id": "a"}
        await talk.send(update(2), {"type": "unsubscribed", **about, "reason": "requested"})
        await talk.answer(offset=2)
        await talk.send(update(3))

    async with Server(script).running() as url, Client(url) as client:
        one = await client.subscribe("ticket", "a")
        await one.unsubscribe()
        await one.unsubscribe()
        assert [] == [item async for item in one]
        assert [3] == await offsets(await client.subscribe("ticket", "a"), 1)


@pytest.mark.parametrize("code", [1002, 1007, 1009, 4400, 4401, 4403, 4499])
async def test_final_close_codes(code):
    """
    Waiting, iterating and subscribing callers get an error with the code; no other socket is opened.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        await talk.receive()
        await talk.socket.close(code)

    server = Server(script)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        one = await client.subscribe("ticket", "a")
        assert isinstance(await anext(one), Subscribed)
        for attempt in (client.subscribe("ticket", "b"), anext(one), client.subscribe("me", "me")):
            with pytest.raises(ClosedError) as caught:
                await attempt
            assert code == caught.value.code
    assert 1 == server.sockets


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 3999, 4000, 4408, 4429, 4500, 4503, 4999])
async def test_close_codes_after_which_the_client_reconnects(code):
    """
    After these codes, and after unknown ones, the client opens another socket.
    """

    async def script(talk):
        await talk.greet()
        await talk.socket.close(code)

    server = Server(script, steady)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        assert [1, 2] == await offsets(await client.subscribe("ticket", "a"), 2)
    assert 2 == server.sockets


@pytest.mark.parametrize(
    "invalid",
    [
        "invalid",
        "[]",
        "[" * 100_000,
        "{}",
        '{"type": 7}',
        '{"type": "hello"}',
        '{"type": "hello", "heartbeat_seconds": 25, "reconnect": {"min_ms": "1", "max_ms": 2}}',
    ],
)
async def test_invalid_frames(invalid):
    """
    After an invalid frame, before or after the hello, the client opens another socket.
    """

    async def before(talk):
        await talk.send(invalid)

    async def after(talk):
        await talk.greet()
        await talk.send(invalid if "hello" not in invalid else update(7) | {"type": "subscribed"})
        await talk.answer()
        await talk.send(update(5))

    server = Server(before, after, steady)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        assert [1, 2] == await offsets(await client.subscribe("ticket", "a"), 2)
    assert 3 == server.sockets
    assert 2 == client.breaches


async def test_a_server_that_is_away():
    """
    The client tries again.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        async with Client(f"ws://127.0.0.1:{port}/", window=AT_ONCE) as client:
            subscribing = asyncio.create_task(client.subscribe("ticket", "a"))
            await until(lambda: client.losses > 1)
            assert not subscribing.done()
            subscribing.cancel()


async def test_refused_handshakes():
    """
    The client tries again after a temporary refusal, and raises after a final one.
    """
    server = Server(steady, refusals=[503, 403, 429])
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        await client.subscribe("ticket", "a")
    server = Server(steady, refusals=[404])
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        with pytest.raises(ClosedError, match="404 Not Found"):
            await client.subscribe("ticket", "a")
    async with Client("http://nowhere/") as client:
        with pytest.raises(InvalidURI):
            await client.subscribe("ticket", "a")


async def test_each_socket_has_a_one_time_token_of_its_own():
    """
    One that can't be fetched is fetched again later.
    """
    offered, tokens = [], iter(["one", OSError("away"), "two"])

    async def fetch():
        token = next(tokens)
        if isinstance(token, OSError):
            raise token
        return token

    async def noting(talk):
        offered.append(talk.socket.request.headers["Sec-WebSocket-Protocol"])
        await steady(talk)

    async def ending(talk):
        await noting(talk)
        await talk.socket.close(1001)

    async with (
        Server(ending, noting).running() as url,
        Client(url, token=fetch, window=AT_ONCE) as client,
    ):
        await offsets(await client.subscribe("ticket", "a"), 5)
        await until(lambda: len(offered) == 2)
    assert ["pillarbox.token.one", "pillarbox.token.two"] == offered


async def test_a_token_that_never_comes_is_fetched_again(monkeypatch):
    """
    The fetch is part of the time in which a socket must open.
    """
    monkeypatch.setattr(reconnection, "OPEN_SECONDS", 0.1)
    fetched = []

    async def fetch():
        fetched.append(len(fetched))
        if len(fetched) == 1:
            monkeypatch.setattr(reconnection, "OPEN_SECONDS", PATIENCE)
            await asyncio.Event().wait()
        return "late"

    async with (
        Server(steady).running() as url,
        Client(url, token=fetch, window=AT_ONCE) as client,
    ):
        await offsets(await client.subscribe("ticket", "a"), 5)
    assert [0, 1] == fetched


async def test_silence_is_a_dead_link():
    """
    After a silence of twice the heartbeat, the client opens another socket.
    """

    async def silent(talk):
        await talk.greet(heartbeat_seconds=0.1)
        await talk.answer()

    server = Server(silent, steady)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        assert [1, 2] == await offsets(await client.subscribe("ticket", "a"), 2)
    assert 2 == server.sockets


async def test_a_pause_of_the_process_is_no_silence():
    """
    If this process was blocked for longer than two heartbeats, frames that arrived meanwhile count.
    """

    async def script(talk):
        await talk.greet(heartbeat_seconds=1)
        await talk.answer()
        await talk.send(update(1))
        await talk.send({"type": "ping"})
        await talk.receive()  # from now on the client waits for the next frame
        time.sleep(2.5)  # noqa: ASYNC251  # it blocks the loop of both
        await talk.send(update(2))

    server = Server(script, steady)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        assert [1, 2] == await offsets(await client.subscribe("ticket", "a"), 2)
    assert 1 == server.sockets


async def test_a_full_queue_stops_the_reading():
    """
    If a subscription's queue is full, the client stops reading until items are taken or dropped.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        await talk.send(*map(update, range(1, QUEUE_ITEMS + 100)))
        await talk.answer()

    async with Server(script).running() as url, Client(url) as client:
        one = await client.subscribe("ticket", "a")
        await until(lambda: len(one._queue) >= QUEUE_ITEMS)
        subscribing = asyncio.create_task(client.subscribe("ticket", "b"))
        assert [1, 2, 3, 4] == await offsets(one, 4)
        assert not subscribing.done()
        await until(lambda: len(one._queue) >= QUEUE_ITEMS)
        await one.unsubscribe()
        assert isinstance(await anext(await subscribing), Subscribed)


async def test_the_client_ends():
    """
    Iterations end with the client, and later calls raise.
    """

    async def script(talk):
        await steady(talk)
        await talk.receive()

    ended = "by the client"
    server = Server(script)
    async with server.running() as url:
        async with Client(url) as client:
            one = await client.subscribe("ticket", "a")
            assert [1, 2, 3, 4, 5] == await offsets(one, 5)
            waiting = asyncio.create_task(client.subscribe("ticket", "b"))
            await until(lambda: len(server.commands) == 2)
        with pytest.raises(ClosedError, match=ended):  # pragma: no cover  # 3.11 can't trace it
            await waiting
        assert [] == [item async for item in one]
        with pytest.raises(ClosedError, match=ended):  # pragma: no cover  # 3.11 can't trace it
            await client.subscribe("ticket", "b")


async def test_many_subscriptions_take_several_commands():
    """
    A command has at most 50 entries.
    """

    async def cut(talk):
        await talk.greet()
        for _ in range(60):
            await talk.answer()
        await talk.socket.close(1012)

    async def again(talk):
        await talk.greet()
        await talk.answer()
        await talk.answer()
        await talk.send(update(1))

    server = Server(cut, again)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        one = await client.subscribe("ticket", "a")
        for number in range(59):
            await client.subscribe("ticket", str(number))
        assert [1] == await offsets(one, 1)
    assert [50, 10] == [len(command["subscriptions"]) for command in server.commands[-2:]]


def test_pauses():
    """
    Pauses are random, grow with each loss within the window, and may be anywhere in it after a restart.
    """
    window = (0.5, 20.0)
    assert all(0.5 <= pause(1, window, None) <= 1.0 for _ in range(100))
    assert all(0.5 <= pause(50, window, 4500) <= 20.0 for _ in range(100))
    for losses, code in ((50, None), (1, 1012)):
        assert max(pause(losses, window, code) for _ in range(100)) > 10
    assert SHORTEST_PAUSE == pause(1, (SHORTEST_PAUSE, SHORTEST_PAUSE / 2), None)


def test_a_service_needs_no_django():
    """
    The client can be imported without Django.
    """
    code = "import sys, pillarbox.client.client; print('django' in sys.modules)"
    assert b"False\n" == subprocess.check_output(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR
    )
