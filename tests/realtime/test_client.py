"""The client, against servers that say whatever the test has them say."""

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

from apps.realtime.client import Client, RefusedError
from apps.realtime.following import WAITING
from apps.realtime.reconnecting import SOONEST, ClosedError, pause
from apps.realtime.standing import (
    Notification,
    Position,
    Resynced,
    Snapshot,
    Subscribed,
    Unsubscribed,
)
from tests.waiting import PATIENCE, until

AT_ONCE = (0.001, 0.01)
HELLO = {"type": "hello", "heartbeat_seconds": 25, "reconnect": {"min_ms": 500, "max_ms": 20000}}


class Server:
    """Says to each socket what its script says; the last script serves all that come later."""

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
    def __init__(self, server, socket):
        self.server, self.socket = server, socket

    async def say(self, *frames):
        for frame in frames:
            await self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def hear(self):
        command = json.loads(await self.socket.recv())
        self.server.commands.append(command)
        return command

    async def answer(self, offset=0, epoch="e", **more):
        """Answer each entry of the next subscribing command."""
        command = await self.hear()
        for index, entry in enumerate(command["subscriptions"]):
            about = {"object_type": entry["object_type"], "id": entry["id"], "index": index}
            since = entry.get("since", {"epoch": epoch, "offset": offset})
            recovered = {"recovered": True} if "since" in entry else {}
            frame = {"type": "subscribed", "ref": command["ref"], **about, **since, **recovered}
            await self.say({**frame, **more})

    async def greet(self, **more):
        await self.say({**HELLO, **more})


def update(offset, **more):
    about = {"object_type": "ticket", "id": "a", "event_id": str(offset), "at": "now"}
    position = {"epoch": "e", "offset": offset}
    return {"type": "UPDATE_TICKET", "payload": {}, **about, **position, **more}


def at(offset):
    return Position(epoch="e", offset=offset)


@pytest.fixture(autouse=True)
async def patience():
    """No test waits for ever."""
    async with asyncio.timeout(PATIENCE):
        yield


async def offsets(subscription, count):
    """Return the offsets of the next words that are notifications, so many."""
    found = []
    while len(found) < count:
        word = await anext(subscription)
        found += [word.position.offset] if isinstance(word, Notification) else []
    return found


async def steady(talk):
    """Greet, let in, and send one after the other until the socket ends."""
    await talk.greet()
    await talk.answer()
    for offset in range(1, 6):
        await talk.say(update(offset))


async def test_subscriptions_share_a_socket():
    """
    Each hears what is its own, collections too, in the words of the protocol; pings are answered.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        await talk.answer(offset=7)
        ours = {"object_type": "project.tickets", "id": "p"}
        await talk.say(update(1), update(8, subscription=ours), {"type": "ping"}, update(2))
        assert {"action": "pong"} == await talk.hear()
        await talk.say({"type": "weather"}, update(3, colour="red"), update(1, subscription="odd"))

    server = Server(script)
    async with server.running() as url, Client(url) as client:
        ticket = await client.subscribe("ticket", "a")
        collection = await client.subscribe("project.tickets", "p")
        assert [1, 2, 3] == await offsets(ticket, 3)
        assert Subscribed(position=at(7)) == await anext(collection)
        assert [8] == await offsets(collection, 1)
        with pytest.raises(ValueError, match="follows ticket a already"):
            await client.subscribe("ticket", "a")
    assert (1, 1, 0) == (server.sockets, client.sockets, client.breaches)
    assert client.received > 0


async def test_cut_off_it_resumes():
    """
    Each subscription from where it stands, with one command; what comes again is not heard again.
    """

    async def cut(talk):
        await talk.greet()
        await talk.answer()
        await talk.say(update(1), update(2))
        talk.socket.transport.abort()

    async def again(talk):
        await talk.greet()
        await talk.say(update(3))  # before it says that it follows
        await talk.answer()
        await talk.say(update(2), update(3), update(3), update(4))

    server = Server(cut, again)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        one = await client.subscribe("ticket", "a")
        words = [await anext(one) for _ in range(6)]
        assert 0 == client.losses
    kinds = [Subscribed, Notification, Notification, Subscribed, Notification, Notification]
    assert kinds == [type(word) for word in words]
    assert [0, 1, 2, 2, 3, 4] == [word.position.offset for word in words]
    assert {"epoch": "e", "offset": 2} == server.commands[-1]["subscriptions"][0]["since"]
    assert 2 == client.sockets


async def test_a_given_position_is_resumed_from():
    """
    Another process' position will do; if it can't be resumed from, the client is told.
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
        word = await anext(other)
    assert Resynced(position=at(3), reason="unrecoverable", payload={"a": 1}) == word
    assert [True, None] == [
        command["subscriptions"][0].get("snapshot") for command in server.commands
    ]


async def test_pages_of_a_snapshot():
    """
    They are told one by one, though they are part of an answer.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        page = {"type": "snapshot", "ref": talk.server.commands[-1]["ref"], "index": 0}
        await talk.say({**page, "items": [1], "done": False}, {**page, "items": [2], "done": True})

    async with Server(script).running() as url, Client(url) as client:
        pages = await client.subscribe("project.tickets", "p", snapshot=True)
        assert Subscribed(position=at(0)) == await anext(pages)
        assert Snapshot(items=[1], is_last=False) == await anext(pages)
        assert Snapshot(items=[2], is_last=True) == await anext(pages)


async def test_refusals_are_raised():
    """
    By whoever asked; others, and the socket, are as they were. Nothing of them is left.
    """

    async def script(talk):
        await talk.greet()
        for code in ("not_found", "not_found"):
            command = await talk.hear()
            await talk.say(
                {"type": "error", "code": "malformed", "detail": "Of nobody.", "temporary": False},
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


async def test_what_is_refused_for_now_is_asked_again():
    """
    After the time that the server says, or a while; but not if nobody wants it any more.
    """

    async def script(talk):
        await talk.greet()
        for more in ({"retry_after_ms": 20}, {}):
            command = await talk.hear()
            error = {"type": "error", "ref": command["ref"], "index": 0, "code": "unavailable"}
            await talk.say({**error, "detail": "Later.", "temporary": True, **more})
        await talk.answer()
        command = await talk.hear()
        error = {"type": "error", "ref": command["ref"], "code": "unavailable", "temporary": True}
        await talk.say({**error, "retry_after_ms": 300})

    server = Server(script)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        await client.subscribe("ticket", "a")
        waiting = asyncio.create_task(client.subscribe("ticket", "b"))
        await until(lambda: client._asking_again)
        waiting.cancel()
        await until(lambda: not client._asking_again)
    assert [["a"], ["a"], ["a"], ["b"]] == [
        [entry["id"] for entry in command["subscriptions"]] for command in server.commands
    ]


async def test_nobody_waits_for_an_answer_any_more():
    """
    Who gave up is passed over, and what was to be asked again ends with its socket.
    """

    async def script(talk):
        await talk.greet()
        command = await talk.hear()
        assert "unsubscribe" == (await talk.hear())["action"]
        await talk.say({"type": "error", "ref": command["ref"], "code": "not_found"})
        command = await talk.hear()
        later = {"code": "unavailable", "temporary": True, "retry_after_ms": 3_600_000}
        await talk.say({"type": "error", "ref": command["ref"], **later})
        await talk.socket.close(1012)

    server = Server(script, steady)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        waiting = asyncio.create_task(client.subscribe("ticket", "b"))
        await until(lambda: server.commands)
        before = client.received
        waiting.cancel()
        await until(lambda: client.received != before)
        assert [1] == await offsets(await client.subscribe("ticket", "a"), 1)
        assert not client._asking_again


@pytest.mark.parametrize("reason", ["deleted", "revoked"])
async def test_the_server_ends_a_subscription(reason):
    """
    The word is the last one; the socket stays, and the same may be asked for again.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        gone = {"type": "unsubscribed", "object_type": "ticket", "id": "a", "reason": reason}
        await talk.say(update(1), gone, update(2))
        await talk.answer(offset=4)

    server = Server(script)
    async with server.running() as url, Client(url) as client:
        words = [word async for word in await client.subscribe("ticket", "a")]
        assert Unsubscribed(reason=reason) == words[-1]
        assert 3 == len(words)
        assert Subscribed(position=at(4)) == await anext(await client.subscribe("ticket", "a"))


async def test_a_resume_that_is_refused_is_the_last_word():
    """
    What was deleted meanwhile, or is no longer to be seen, is told to whoever iterates.
    """

    async def refuse(talk):
        await talk.greet()
        command = await talk.hear()
        await talk.say({"type": "error", "ref": command["ref"], "index": 0, "code": "not_found"})

    async def cut(talk):
        await talk.greet()
        await talk.answer()
        await talk.socket.close(1012)

    async with Server(cut, refuse).running() as url, Client(url, window=AT_ONCE) as client:
        words = [word async for word in await client.subscribe("ticket", "a")]
    assert [Subscribed(position=at(0)), Unsubscribed(reason="not_found")] == words


async def test_unsubscribing():
    """
    Ends the iteration, tells the server, and may be followed by the same subscription.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        await talk.say(update(1))
        assert "unsubscribe" == (await talk.hear())["action"]
        about = {"object_type": "ticket", "id": "a"}
        await talk.say(update(2), {"type": "unsubscribed", **about, "reason": "requested"})
        await talk.answer(offset=2)
        await talk.say(update(3))

    async with Server(script).running() as url, Client(url) as client:
        one = await client.subscribe("ticket", "a")
        await one.unsubscribe()
        await one.unsubscribe()
        assert [] == [word async for word in one]
        assert [3] == await offsets(await client.subscribe("ticket", "a"), 1)


@pytest.mark.parametrize("code", [1002, 1007, 1009, 4400, 4401, 4403, 4499])
async def test_codes_that_mean_stay_away(code):
    """
    Whoever waits, iterates or asks is told the code, and no other socket is opened.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        await talk.hear()
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
async def test_codes_that_mean_come_back(code):
    """
    Those of the table, and any that the client has never seen.
    """

    async def script(talk):
        await talk.greet()
        await talk.socket.close(code)

    server = Server(script, steady)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        assert [1, 2] == await offsets(await client.subscribe("ticket", "a"), 2)
    assert 2 == server.sockets


@pytest.mark.parametrize(
    "nonsense",
    [
        "nonsense",
        "[]",
        "[" * 100_000,
        "{}",
        '{"type": 7}',
        '{"type": "hello"}',
        '{"type": "hello", "heartbeat_seconds": 25, "reconnect": {"min_ms": "1", "max_ms": 2}}',
    ],
)
async def test_servers_that_speak_nonsense(nonsense):
    """
    Before the hello or after it: the socket is ended, and the next one tried.
    """

    async def before(talk):
        await talk.say(nonsense)

    async def after(talk):
        await talk.greet()
        await talk.say(nonsense if "hello" not in nonsense else update(7) | {"type": "subscribed"})
        await talk.answer()
        await talk.say(update(5))

    server = Server(before, after, steady)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        assert [1, 2] == await offsets(await client.subscribe("ticket", "a"), 2)
    assert 3 == server.sockets
    assert 2 == client.breaches


async def test_a_server_that_is_not_there():
    """
    It is tried again.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        async with Client(f"ws://127.0.0.1:{port}/", window=AT_ONCE) as client:
            asking = asyncio.create_task(client.subscribe("ticket", "a"))
            await until(lambda: client.losses > 1)
            assert not asking.done()
            asking.cancel()


async def test_handshakes_that_fail():
    """
    A server that is busy is tried again; one that says no is believed.
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


async def test_silence_is_a_dead_link():
    """
    Nothing heard for twice the heartbeat: another socket is opened.
    """

    async def silent(talk):
        await talk.greet(heartbeat_seconds=0.1)
        await talk.answer()

    server = Server(silent, steady)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        assert [1, 2] == await offsets(await client.subscribe("ticket", "a"), 2)
    assert 2 == server.sockets


async def test_an_absence_is_no_silence():
    """
    What came while this process was held up, for longer than two heartbeats, is read: the socket stays.
    """

    async def script(talk):
        await talk.greet(heartbeat_seconds=1)
        await talk.answer()
        await talk.say(update(1))
        await talk.say({"type": "ping"})
        await talk.hear()  # from now on the client waits for what comes next
        time.sleep(2.5)  # noqa: ASYNC251  # it holds up the loop of both
        await talk.say(update(2))

    server = Server(script, steady)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        assert [1, 2] == await offsets(await client.subscribe("ticket", "a"), 2)
    assert 1 == server.sockets


async def test_who_takes_nothing_lets_the_server_wait():
    """
    So much waits and no more; taken or dropped, it goes on.
    """

    async def script(talk):
        await talk.greet()
        await talk.answer()
        await talk.say(*map(update, range(1, WAITING + 100)))
        await talk.answer()

    async with Server(script).running() as url, Client(url) as client:
        one = await client.subscribe("ticket", "a")
        await until(lambda: len(one._waiting) >= WAITING)
        asking = asyncio.create_task(client.subscribe("ticket", "b"))
        assert [1, 2, 3, 4] == await offsets(one, 4)
        assert not asking.done()
        await until(lambda: len(one._waiting) >= WAITING)
        await one.unsubscribe()
        assert isinstance(await anext(await asking), Subscribed)


async def test_the_client_ends():
    """
    Iterations end with it, and nothing can be asked of it any more.
    """

    async def script(talk):
        await steady(talk)
        await talk.hear()

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
        assert [] == [word async for word in one]
        with pytest.raises(ClosedError, match=ended):  # pragma: no cover  # 3.11 can't trace it
            await client.subscribe("ticket", "b")


async def test_many_are_asked_for_in_parts():
    """
    A command has a greatest length.
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
        await talk.say(update(1))

    server = Server(cut, again)
    async with server.running() as url, Client(url, window=AT_ONCE) as client:
        one = await client.subscribe("ticket", "a")
        for number in range(59):
            await client.subscribe("ticket", str(number))
        assert [1] == await offsets(one, 1)
    assert [50, 10] == [len(command["subscriptions"]) for command in server.commands[-2:]]


def test_pauses():
    """
    Random, longer each time, within the window; after a restart anywhere in it.
    """
    window = (0.5, 20.0)
    assert all(0.5 <= pause(1, window, None) <= 1.0 for _ in range(100))
    assert all(0.5 <= pause(50, window, 4500) <= 20.0 for _ in range(100))
    for losses, code in ((50, None), (1, 1012)):
        assert max(pause(losses, window, code) for _ in range(100)) > 10
    assert SOONEST == pause(1, (SOONEST, SOONEST / 2), None)


def test_a_service_needs_no_django():
    """
    The client can be imported where nothing else of the project is installed.
    """
    code = "import sys, apps.realtime.client; print('django' in sys.modules)"
    assert b"False\n" == subprocess.check_output(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR
    )
