"""Tests of limits: of commands, malformed frames, sockets per user, reads per user, and slow clients."""

import asyncio
import threading
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from channels.testing import WebsocketCommunicator
from django.db import connection

from apps.tickets.live import TicketType
from pillarbox.conf import pillarbox_settings
from pillarbox.sockets.commands.limits import TokenBucket
from pillarbox.sockets.database import in_database
from pillarbox.sockets.housekeeping.recurring import count_sockets, housekeeping
from pillarbox.stream import history
from pillarbox.types.registry import register, unregister
from tests.communicators import Socket, connected, in_thread, signed_in, sockets, subject, token_of
from tests.database import elsewhere, table_lock, wait_for_a_waiting_lock
from tests.sockets.resuming import missed, where
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.django_db(transaction=True)


class TestTokenBucket:
    def test_a_burst_then_a_rate(self, settings):
        """
        After a pause, the cost of the largest command passes at once; then commands pass at the rate.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SUBSCRIPTIONS": 4, "COMMANDS_PER_SECOND": 2}
        bucket = TokenBucket(100.0)
        assert 0 == bucket.take(6, 100.0)
        assert 0.5 == bucket.take(1, 100.0)
        assert 0 == bucket.take(1, 100.5)
        assert 1.5 == bucket.take(3, 100.5)

    def test_refusals_are_free_and_the_burst_is_limited(self, settings):
        """
        After the announced wait a command passes, however many were refused. A long pause saves no more than
        a burst.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SUBSCRIPTIONS": 0, "COMMANDS_PER_SECOND": 2}
        bucket = TokenBucket(0.0)
        assert 0 == bucket.take(2, 0.0)
        assert [0.5, 0.25, 0] == [bucket.take(1, now) for now in (0.0, 0.25, 0.5)]
        assert 0.5 == bucket.take(3, 1000.0)


class TestCommands:
    async def test_too_many_are_refused_for_a_while(self, settings, demo, ticket):
        """
        The answer says how long to wait. Afterwards commands pass.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SUBSCRIPTIONS": 0, "COMMANDS_PER_SECOND": 5}
        async with signed_in(demo) as socket:
            answer, asked = {"type": "pong"}, 0
            while answer["type"] == "pong":  # a slow machine needs many to exceed the rate
                asked += 1
                answer = refusal = await socket.ask({"action": "ping", "ref": asked})
            assert asked > 5
            assert ("error", asked, "rate_limited", True) == (
                refusal["type"],
                refusal["ref"],
                refusal["code"],
                refusal["temporary"],
            )
            assert 0 < refusal["retry_after_ms"] <= 200
            await asyncio.sleep(refusal["retry_after_ms"] / 1000)
            assert "pong" == (await socket.ask({"action": "ping"}))["type"]

    async def test_each_subscription_of_a_command_counts(self, settings, demo):
        """
        Several subscriptions in one command cost as much as in several commands.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SUBSCRIPTIONS": 30, "COMMANDS_PER_SECOND": 1}
        async with signed_in(demo) as socket:
            entries = [{"object_type": "me", "id": "me"}] * 30
            await socket.send({"subscriptions": entries})
            assert ["subscribed"] * 30 == [(await socket.receive())["type"] for _ in range(30)]
            assert "rate_limited" == (await socket.ask({"subscriptions": entries}))["code"]

    async def test_an_invalid_command_is_not_cheaper(self, settings, demo):
        """
        Malformed and invalid commands cost one. A refusal names the command.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SUBSCRIPTIONS": 2, "COMMANDS_PER_SECOND": 1}
        async with signed_in(demo) as socket:
            for frame in ("{", {"action": "dance"}, {}, {"action": "dance", "ref": 7}):
                await socket.send(frame)
            frames = [await socket.receive() for _ in range(4)]
            codes = ["malformed", "invalid", "invalid", "rate_limited"]
            assert codes == [frame["code"] for frame in frames]
            assert 7 == frames[-1]["ref"]

    async def test_ignoring_the_limit_closes_the_socket(self, settings, demo):
        """
        The close code tells the client to reconnect later.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SUBSCRIPTIONS": 0, "COMMANDS_PER_SECOND": 3}
        async with signed_in(demo) as socket:
            kinds = []
            while kinds[-3:] != ["error"] * 3:
                kinds.append((await socket.ask({"action": "ping"}))["type"])
            assert kinds.count("pong") >= 3
            assert 4429 == await socket.closed()


class TestMalformed:
    async def test_repeated_malformed_frames_close_the_socket(self, settings, demo):
        """
        Each is answered, and the last one closes the socket.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"MALFORMED_FRAMES": 3}
        async with signed_in(demo) as socket:
            for _ in range(3):
                assert "malformed" == (await socket.ask("{"))["code"]
            assert 4400 == await socket.closed()

    async def test_a_valid_command_resets_the_count(self, settings, demo):
        """
        A client that errs now and then stays connected.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"MALFORMED_FRAMES": 2}
        async with signed_in(demo) as socket:
            for _ in range(3):
                assert "malformed" == (await socket.ask("{"))["code"]
                assert "pong" == (await socket.ask({"action": "ping"}))["type"]


class TestSockets:
    async def test_sockets_of_one_user_are_limited(self, settings, demo, other):
        """
        One more is closed without a hello. Other users are not affected, and an ended socket frees its place.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SOCKETS_PER_USER": 2}
        async with signed_in(demo) as first:
            headers = first.headers
            async with signed_in(demo), connected(headers) as third:
                assert 4429 == await third.closed()
                async with signed_in(other):
                    pass
            async with signed_in(demo):
                pass


class Lengthy(TicketType):
    """A type of tickets whose permission takes long."""

    release = threading.Event()

    def visible_to(self, user):
        Lengthy.release.wait(PATIENCE)
        return super().visible_to(user)


async def test_slow_reads_of_one_user_leave_threads_to_others(demo, other, ticket):
    """
    A user's reads run one at a time, however many sockets the user has.
    """
    unregister("ticket")
    register(Lengthy)
    try:
        async with AsyncExitStack() as stack:
            slow = [await stack.enter_async_context(signed_in(demo)) for _ in range(6)]
            quick = await stack.enter_async_context(signed_in(other))
            for socket in slow:
                await socket.send(subject(ticket))
            assert "subscribed" == (await quick.ask({"object_type": "me", "id": "me"}))["type"]
            Lengthy.release.set()
            assert ["subscribed"] * 6 == [(await socket.receive())["type"] for socket in slow]
    finally:
        Lengthy.release.set()
        unregister("ticket")
        register(TicketType)


class Held:
    """A hook that holds reads of the history until the test releases them."""

    def __init__(self):
        self.begun, self.release = [], threading.Event()

    def __call__(self, execute, sql, params, many, context):
        if history.AFTER in sql:
            self.begun.append(params)
            assert self.release.wait(PATIENCE)
        return execute(sql, params, many, context)

    @asynccontextmanager
    async def everywhere(self):
        """Install the hook in each thread that reads for sockets."""
        together = threading.Barrier(threads := pillarbox_settings().DATABASE_THREADS)

        def on_each(change):
            together.wait(PATIENCE)
            change(self)

        async def change(name):
            ways = (
                in_database(lambda: on_each(getattr(connection.execute_wrappers, name)))
                for _ in range(threads)
            )
            await asyncio.gather(*ways)

        await change("append")
        try:
            yield
        finally:
            self.release.set()
            await change("remove")


@pytest.mark.usefixtures("published")
async def test_resumes_of_one_user_leave_threads_to_others(settings, demo, other, ticket):
    """
    A user's reads of the history run one at a time, however many sockets resume.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"CATCH_UP_ROWS": 2}
    since, held = await where(demo, subject(ticket)), Held()
    await missed(ticket, 5)
    async with AsyncExitStack() as stack:
        resuming = [await stack.enter_async_context(signed_in(demo)) for _ in range(6)]
        quick = await stack.enter_async_context(signed_in(other))
        async with held.everywhere():
            for socket in resuming:
                await socket.send({**subject(ticket), "since": since})
            await until(lambda: held.begun)
            assert "subscribed" == (await quick.ask({"object_type": "me", "id": "me"}))["type"]
            assert 1 == len(held.begun)
            held.release.set()
            for socket in resuming:
                assert 5 == (await socket.receive())["missed"]
                assert [2, 3, 4, 5, 6] == [(await socket.receive())["offset"] for _ in range(5)]


class TestSlow:
    async def test_a_client_that_does_not_read_is_cut(self, settings, demo, ticket):
        """
        If nothing can be sent for SLOW_SECONDS, the socket is closed with 4503.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SLOW_SECONDS": 0.5}
        async with signed_in(demo) as socket:
            (served,) = housekeeping().sockets
            socket.stop_reading()
            await socket.send({"subscriptions": [{"object_type": "me", "id": "me"}] * 3})
            await until(lambda: served.connection.is_closed)
            assert 0 == (await socket.receive())["index"]
            assert 4503 == await socket.closed()

    async def test_a_client_that_reads_is_not_cut(self, demo):
        """
        A socket that doesn't wait in a send can't be cut.
        """
        async with signed_in(demo) as socket:
            (served,) = housekeeping().sockets
            served.connection.cut()
            assert await socket.answers()

    async def test_a_server_may_cancel_a_waiting_send(self, demo, ticket):
        """
        The consumer ends, and its channel leaves the groups.
        """
        headers = await token_of(demo)
        communicator = WebsocketCommunicator(sockets, "/ws/notifications/", headers=headers)
        await communicator.connect(PATIENCE)
        socket = Socket(communicator)
        assert "hello" == (await socket.receive())["type"]
        await socket.ask(subject(ticket))
        (served,) = housekeeping().sockets
        socket.stop_reading()
        for _ in range(2):
            await socket.send({"action": "ping"})
        await until(lambda: served.connection.sending_since)
        communicator.future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await communicator.future
        assert {} == served.channel.layer._get_layer().groups

    async def test_a_slow_client_that_is_refused_is_closed_once(self, settings, demo):
        """
        The first reason to close wins.
        """
        settings.PILLARBOX = settings.PILLARBOX | {
            "SLOW_SECONDS": 0.3,
            "SUBSCRIPTIONS": 0,
            "COMMANDS_PER_SECOND": 1,
        }
        async with signed_in(demo) as socket:
            (served,) = housekeeping().sockets
            socket.stop_reading()
            for _ in range(2):
                await socket.send({"action": "ping"})
            await until(lambda: served.connection.is_closed)
            assert {"type": "pong"} == await socket.receive()
            assert 4503 == await socket.closed()
            assert await socket.sent_nothing_more()

    async def test_a_close_that_blocks_leaves_nothing_behind(self, settings, demo, ticket):
        """
        The channel has left its groups, whether or not the client ever receives the close.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SLOW_SECONDS": 0.1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            (served,) = housekeeping().sockets
            socket.stop_reading()
            for _ in range(2):
                await socket.send({"action": "ping"})
            await until(lambda: served.connection.is_closed)
            groups = served.channel.layer._get_layer().groups
            assert not any(
                served.channel.name in name for members in groups.values() for name in members
            )


async def test_sockets_are_counted(demo, ticket):
    """
    Any thread can count them and their subscriptions.
    """
    before = count_sockets()
    async with signed_in(demo) as socket:
        await socket.send({"object_type": "me", "id": "me"})
        await socket.receive()
        assert (before[0] + 1, before[1] + 1) == await asyncio.to_thread(count_sockets)
    assert before == count_sockets()


async def test_heartbeats_recur(settings, demo):
    """
    A page that sends nothing receives a ping each HEARTBEAT_SECONDS.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"HEARTBEAT_SECONDS": 1}
    async with signed_in(demo) as socket:
        assert 1 == socket.hello["heartbeat_seconds"]
        assert [{"type": "ping"}] * 2 == [await socket.receive() for _ in range(2)]


async def test_new_connections_leave_a_thread_to_connected_sockets(demo, ticket):
    """
    While many new connections wait for the database, connected sockets are served.
    """
    headers = await token_of(demo)
    async with signed_in(demo) as socket, AsyncExitStack() as stack:
        with elsewhere(table_lock("authtoken_token")):
            comers = [await stack.enter_async_context(connected(headers)) for _ in range(8)]
            await in_thread(wait_for_a_waiting_lock)
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]
            assert all(comer.communicator.output_queue.empty() for comer in comers)
        for comer in comers:
            assert "hello" == (await comer.receive())["type"]
