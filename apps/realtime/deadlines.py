"""
Deadlines that count only the time in which this process ran. Knows no Django.

A process can be stopped: by SIGSTOP, by a paused machine, by a long callback in its event loop. When it goes
on, its timers are due at once, while what arrived meanwhile still waits to be read. An ordinary deadline
would then report a slow peer, though only this process was slow.

So a deadline here is a row of short timers, each set when the one before has fired. An absence of any length
costs one of them, and the peer keeps the time of the others.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

#: Timers of a deadline: an absence costs an eighth of it at most.
PIECES = 8
#: Between two ticks of a `Clock`, in seconds.
TICK_SECONDS = 0.5


class Countdown:
    """Calls a function after ``seconds`` in which the event loop ran, unless it is cancelled before."""

    def __init__(self, seconds: float, function: Callable[[], object]) -> None:
        self._loop, self._function = asyncio.get_running_loop(), function
        self._piece, self._left = seconds / PIECES, PIECES
        self._timer = self._loop.call_later(self._piece, self._count)

    def cancel(self) -> None:
        """Don't call the function any more."""
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
    """Return after ``seconds``."""
    for _ in range(PIECES):
        await asyncio.sleep(seconds / PIECES)


class Clock:
    """
    Counts the seconds in which an event loop ran, in ticks.

    It is for deadlines of thousands of sockets, which are looked at together: reading it costs nothing.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def tick(self) -> None:
        """Called at each tick. One that comes late counts no more than others."""
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
