"""Deadlines count only the time in which this process ran."""

import asyncio
import socket
import time

import pytest

from apps.realtime.deadlines import TICK_SECONDS, Countdown, clock, sleep, timeout
from tests.waiting import until


@pytest.fixture
def pair():
    """Two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class TestTimeout:
    async def test_an_answer_that_came_during_an_absence_is_read(self, pair):
        """
        The loop is held up for longer than the deadline, and the answer comes meanwhile: it is no timeout.
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

    async def test_an_answer_after_an_absence_has_most_of_the_time(self):
        """
        A peer that was held up together with this process may answer afterwards.
        """
        async with timeout(0.8):
            asyncio.get_running_loop().call_soon(time.sleep, 1)
            await asyncio.sleep(0.1)  # over when the loop goes on
            await asyncio.sleep(0.4)

    async def test_who_never_answers_is_given_up(self):
        """
        After the time, and after an absence too.
        """
        for held_up in (0, 0.2):
            asyncio.get_running_loop().call_soon(time.sleep, held_up)
            with pytest.raises(TimeoutError):
                async with timeout(0.05):
                    await asyncio.Event().wait()

    async def test_who_cancels_the_block_is_obeyed(self):
        """
        A cancellation from outside is none of the deadline's.
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
        At its start, or later, or when all is over: nothing is called any more.
        """
        called = []
        first, second = (Countdown(0.1, lambda: called.append("cancelled")) for _ in range(2))
        first.cancel()
        third = Countdown(0.01, lambda: called.append("over"))
        await until(lambda: called)
        second.cancel()
        third.cancel()
        await sleep(0.2)
        assert ["over"] == called


class TestClock:
    async def test_an_absence_counts_as_one_tick(self):
        """
        However long the loop was held up.
        """
        time_of = clock()
        before = time_of.now
        time.sleep(4 * TICK_SECONDS)  # noqa: ASYNC251  # it holds up the loop
        await until(lambda: time_of.now > before)
        assert time_of.now - before < 3 * TICK_SECONDS

    async def test_there_is_one_for_a_loop(self):
        """
        It ticks once, however many ask for it.
        """
        assert clock() is clock()
        before = clock().now
        await until(lambda: clock().now > before)
        assert before + TICK_SECONDS == clock().now
