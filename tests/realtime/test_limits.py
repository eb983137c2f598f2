"""Limits: of commands, of nonsense, of sockets."""

import asyncio
import threading
from contextlib import AsyncExitStack

import pytest
from channels.testing import WebsocketCommunicator

from apps.realtime.limits import TokenBucket
from apps.realtime.registry import register, unregister
from apps.realtime.rounds import count_sockets, rounds
from apps.realtime.routing import websocket
from apps.tickets.live import TicketType
from tests.database import elsewhere, table_lock, wait_for_a_waiting_lock
from tests.sockets import Socket, connected, in_thread, signed_in, subject, token_of
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.django_db(transaction=True)


class TestTokenBucket:
    def test_a_burst_then_a_rate(self, settings):
        """
        After a rest as much as one command may cost passes at once; then so much each second.
        """
        settings.REALTIME = settings.REALTIME | {"SUBSCRIPTIONS": 4, "COMMANDS_PER_SECOND": 2}
        bucket = TokenBucket(100.0)
        assert 0 == bucket.take(6, 100.0)
        assert 0.5 == bucket.take(1, 100.0)
        assert 0 == bucket.take(1, 100.5)
        assert 1.5 == bucket.take(3, 100.5)

    def test_a_refusal_costs_nothing_and_a_rest_saves_no_more_than_a_burst(self, settings):
        """
        Who waits as long as told may pass, however often it asked before.
        """
        settings.REALTIME = settings.REALTIME | {"SUBSCRIPTIONS": 0, "COMMANDS_PER_SECOND": 2}
        bucket = TokenBucket(0.0)
        assert 0 == bucket.take(2, 0.0)
        assert [0.5, 0.25, 0] == [bucket.take(1, now) for now in (0.0, 0.25, 0.5)]
        assert 0.5 == bucket.take(3, 1000.0)


class TestCommands:
    async def test_too_many_are_refused_for_a_while(self, settings, demo, ticket):
        """
        The answer says when to come back; who does is served.
        """
        settings.REALTIME = settings.REALTIME | {"SUBSCRIPTIONS": 0, "COMMANDS_PER_SECOND": 5}
        async with signed_in(demo) as socket:
            answer, asked = {"type": "pong"}, 0
            while answer["type"] == "pong":  # a slow machine may take long to be too fast
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
        Several in one command are as many as in several commands.
        """
        settings.REALTIME = settings.REALTIME | {"SUBSCRIPTIONS": 30, "COMMANDS_PER_SECOND": 1}
        async with signed_in(demo) as socket:
            entries = [{"object_type": "me", "id": "me"}] * 30
            await socket.send({"subscriptions": entries})
            assert ["subscribed"] * 30 == [(await socket.receive())["type"] for _ in range(30)]
            assert "rate_limited" == (await socket.ask({"subscriptions": entries}))["code"]

    async def test_an_invalid_command_is_not_cheaper(self, settings, demo):
        """
        What is refused, malformed or invalid, counts as one; the refusal still names it.
        """
        settings.REALTIME = settings.REALTIME | {"SUBSCRIPTIONS": 2, "COMMANDS_PER_SECOND": 1}
        async with signed_in(demo) as socket:
            for frame in ("{", {"action": "dance"}, {}, {"action": "dance", "ref": 7}):
                await socket.send(frame)
            frames = [await socket.receive() for _ in range(4)]
            codes = ["malformed", "invalid", "invalid", "rate_limited"]
            assert codes == [frame["code"] for frame in frames]
            assert 7 == frames[-1]["ref"]

    async def test_who_does_not_stop_is_closed(self, settings, demo):
        """
        A client that goes on regardless is cut off, and told to back off.
        """
        settings.REALTIME = settings.REALTIME | {"SUBSCRIPTIONS": 0, "COMMANDS_PER_SECOND": 3}
        async with signed_in(demo) as socket:
            kinds = []
            while kinds[-3:] != ["error"] * 3:
                kinds.append((await socket.ask({"action": "ping"}))["type"])
            assert kinds.count("pong") >= 3
            assert 4429 == await socket.closed()


class TestNonsense:
    async def test_again_and_again_ends_the_socket(self, settings, demo):
        """
        Each is answered, and the last one closes.
        """
        settings.REALTIME = settings.REALTIME | {"MALFORMED_FRAMES": 3}
        async with signed_in(demo) as socket:
            for _ in range(3):
                assert "malformed" == (await socket.ask("{"))["code"]
            assert 4400 == await socket.closed()

    async def test_sense_in_between_forgives(self, settings, demo):
        """
        A client that errs now and then stays.
        """
        settings.REALTIME = settings.REALTIME | {"MALFORMED_FRAMES": 2}
        async with signed_in(demo) as socket:
            for _ in range(3):
                assert "malformed" == (await socket.ask("{"))["code"]
                assert "pong" == (await socket.ask({"action": "ping"}))["type"]


class TestSockets:
    async def test_of_one_user(self, settings, demo, other):
        """
        One more is closed without a hello; another user's isn't, and a place that is left is free.
        """
        settings.REALTIME = settings.REALTIME | {"SOCKETS_PER_USER": 2}
        async with signed_in(demo) as first:
            headers = first.headers
            async with signed_in(demo), connected(headers) as third:
                assert 4429 == await third.closed()
                async with signed_in(other):
                    pass
            async with signed_in(demo):
                pass


class Lengthy(TicketType):
    """Tickets that take long to be found."""

    release = threading.Event()

    def visible_to(self, user):
        Lengthy.release.wait(PATIENCE)
        return super().visible_to(user)


async def test_slow_questions_of_one_user_leave_others_their_threads(demo, other, ticket):
    """
    However many sockets it has, a user's questions to the database come one after the other.
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


class TestSlow:
    async def test_who_does_not_read_is_cut_off(self, settings, demo, ticket):
        """
        A client that can't be sent anything for SLOW_SECONDS gets 4503; before that its server waits.
        """
        settings.REALTIME = settings.REALTIME | {"SLOW_SECONDS": 0.5}
        async with signed_in(demo) as socket:
            (served,) = rounds().sockets
            socket.stop_reading()
            await socket.send({"subscriptions": [{"object_type": "me", "id": "me"}] * 3})
            await until(lambda: served.is_closed)
            assert 0 == (await socket.receive())["index"]
            assert 4503 == await socket.closed()

    async def test_who_reads_is_left_alone(self, demo):
        """
        A socket that waits for nobody can't be cut.
        """
        async with signed_in(demo) as socket:
            (served,) = rounds().sockets
            served.cut()
            assert await socket.answers()

    async def test_a_server_that_ends_it_meanwhile_is_obeyed(self, demo, ticket):
        """
        Whoever cancels the consumer ends it, whatever it waits for; it leaves its groups.
        """
        headers = await token_of(demo)
        communicator = WebsocketCommunicator(websocket, "/ws/notifications/", headers=headers)
        await communicator.connect(PATIENCE)
        socket = Socket(communicator)
        assert "hello" == (await socket.receive())["type"]
        await socket.ask(subject(ticket))
        (served,) = rounds().sockets
        socket.stop_reading()
        for _ in range(2):
            await socket.send({"action": "ping"})
        await until(lambda: served.sending_since)
        communicator.future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await communicator.future
        assert {} == served.channel_layer._get_layer().groups

    async def test_who_also_does_harm_is_closed_once(self, settings, demo):
        """
        The first reason is the one that is said.
        """
        settings.REALTIME = settings.REALTIME | {
            "SLOW_SECONDS": 0.3,
            "SUBSCRIPTIONS": 0,
            "COMMANDS_PER_SECOND": 1,
        }
        async with signed_in(demo) as socket:
            (served,) = rounds().sockets
            socket.stop_reading()
            for _ in range(2):
                await socket.send({"action": "ping"})
            await until(lambda: served.is_closed)
            assert {"type": "pong"} == await socket.receive()
            assert 4503 == await socket.closed()
            assert await socket.says_no_more()

    async def test_a_server_that_never_takes_the_close_keeps_nothing(self, settings, demo, ticket):
        """
        The socket has left its groups, whether or not its client ever hears of it.
        """
        settings.REALTIME = settings.REALTIME | {"SLOW_SECONDS": 0.1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            (served,) = rounds().sockets
            socket.stop_reading()
            for _ in range(2):
                await socket.send({"action": "ping"})
            await until(lambda: served.is_closed)
            assert {} == served.channel_layer._get_layer().groups


async def test_sockets_are_counted(demo, ticket):
    """
    With their subscriptions, for who asks from another thread.
    """
    before = count_sockets()
    async with signed_in(demo) as socket:
        await socket.send({"object_type": "me", "id": "me"})
        await socket.receive()
        assert (before[0] + 1, before[1] + 1) == await asyncio.to_thread(count_sockets)
    assert before == count_sockets()


async def test_heartbeats_come_by_themselves(settings, demo):
    """
    A page that only listens hears from the server each HEARTBEAT_SECONDS.
    """
    settings.REALTIME = settings.REALTIME | {"HEARTBEAT_SECONDS": 1}
    async with signed_in(demo) as socket:
        assert 1 == socket.hello["heartbeat_seconds"]
        assert [{"type": "ping"}] * 2 == [await socket.receive() for _ in range(2)]


async def test_who_comes_in_leaves_a_thread_to_who_is_in(demo, ticket):
    """
    However many come at once and wait for the database: who is in is served meanwhile, and they come in.
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
