"""Deadlines count only the time in which this process ran."""

import asyncio
import socket
import time

import pytest

from pillarbox.deadlines import TICK_SECONDS, Countdown, clock, timeout
from tests.waiting import until


@pytest.fixture
def pair():
    """Return the two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class TestTimeout:
    async def test_an_answer_during_a_stop_is_read(self, pair):
        """
        The loop is blocked for longer than the deadline, and the answer arrives meanwhile: no timeout.
        """
        ours, theirs = pair
        reader, writer = await asyncio.open_connection(sock=ours)

        def be_absent():
            theirs.sendall(b"answer\n")
            time.sleep(0.6)

        async with timeout(0.2):
            asyncio.get_running_loop().call_soon(be_absent)
            assert b"answer\n" == await reader.readline()
        writer.close()

    async def test_an_answer_after_a_stop_has_most_of_the_time(self):
        """
        A peer that was stopped together with this process may answer afterwards.
        """
        async with timeout(0.8):
            asyncio.get_running_loop().call_soon(time.sleep, 1)
            await asyncio.sleep(0.1)  # over when the loop goes on
            await asyncio.sleep(0.4)

    async def test_without_an_answer_it_times_out(self):
        """
        After the deadline the block is cancelled, with or without a stop.
        """
        for held_up in (0, 0.2):
            asyncio.get_running_loop().call_soon(time.sleep, held_up)
            with pytest.raises(TimeoutError):
                async with timeout(0.05):
                    await asyncio.Event().wait()

    async def test_a_cancellation_from_outside_is_kept(self):
        """
        A cancellation from outside doesn't become a TimeoutError.
        """

        async def wait():
            async with timeout(1000):
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class TestCountdown:
    async def test_is_cancelled(self):
        """
        A countdown that is cancelled, at its start or later, calls nothing.
        """
        called = []
        first, second = (Countdown(1, lambda: called.append("cancelled")) for _ in range(2))
        first.cancel()
        third = Countdown(0.01, lambda: called.append("over"))
        last = Countdown(1.5, lambda: called.append("last"))
        await until(lambda: called)
        second.cancel()
        third.cancel()
        await until(lambda: "last" in called)
        last.cancel()
        assert ["over", "last"] == called


class TestClock:
    async def test_a_stop_counts_as_one_tick(self):
        """
        A stop of any length counts as one tick.
        """
        time_of = clock()
        before = time_of.now
        time.sleep(4 * TICK_SECONDS)  # noqa: ASYNC251  # it holds up the loop
        await until(lambda: time_of.now > before)
        assert time_of.now - before < 3 * TICK_SECONDS

    async def test_there_is_one_for_a_loop(self):
        """
        All callers in one event loop share a clock.
        """
        assert clock() is clock()
        before = clock().now
        await until(lambda: clock().now > before)
        assert before + TICK_SECONDS == clock().now
