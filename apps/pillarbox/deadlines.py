"""
Deadlines that count only the time in which this process ran. Independent of Django.

A process can be stopped: by SIGSTOP, by a paused machine, by a long callback in its event loop. When it
continues, its timers are due at once, while what has arrived meanwhile is still unread. An ordinary deadline
would then blame the peer, though only this process was slow.

So a deadline here is a series of short timers, each set when the one before has fired. A stop of any length
costs only one of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

#: The number of timers of a deadline. A stop costs at most one of them.
PIECES = 8
#: The time between two ticks of a `Clock`, in seconds.
TICK_SECONDS = 0.5


class Countdown:
    """A timer that calls a function after ``seconds`` in which the event loop ran, unless cancelled."""

    def __init__(self, seconds: float, function: Callable[[], object]) -> None:
        self._loop, self._function = asyncio.get_running_loop(), function
        self._piece, self._left = seconds / PIECES, PIECES
        self._timer = self._loop.call_later(self._piece, self._count)

    def cancel(self) -> None:
        """Cancel the call."""
        self._timer.cancel()

    def _count(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = self._loop.call_later(self._piece, self._count)
        else:
            self._function()


@asynccontextmanager
async def timeout(seconds: float) -> AsyncIterator[None]:
    """Cancel the block after ``seconds``, and raise TimeoutError, as `asyncio.timeout` does."""
    async with asyncio.timeout(None) as limit:
        countdown = Countdown(seconds, lambda: limit.reschedule(0))
        try:
            yield
        finally:
            countdown.cancel()


async def sleep(seconds: float) -> None:
    """Sleep for ``seconds`` in which the event loop ran."""
    for _ in range(PIECES):
        await asyncio.sleep(seconds / PIECES)


class Clock:
    """
    A clock of the seconds in which an event loop ran, counted in ticks.

    It serves the deadlines of thousands of sockets: reading it costs nothing, unlike a timer for each.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def tick(self) -> None:
        """Advance the clock by ``TICK_SECONDS``, however late the call is, and schedule the next tick."""
        self.now += TICK_SECONDS
        asyncio.get_running_loop().call_later(TICK_SECONDS, self.tick)


_clocks: "WeakKeyDictionary[asyncio.AbstractEventLoop, Clock]" = WeakKeyDictionary()


def clock() -> Clock:
    """Return the clock of the running event loop. It ticks from the first call on."""
    loop = asyncio.get_running_loop()
    if loop not in _clocks:
        _clocks[loop] = Clock()
        _clocks[loop].tick()
    return _clocks[loop]
