"""The clients of a run, and the lines that lead them to Daphne."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from .history import Committed, Observed, Record
from .keeper import PATIENCE
from .listeners import Listener, OurListener
from .plain.listener import PlainListener
from .proxy import Proxy
from .scenarios import OURS, PLAIN

#: Clients that connect at once: as many as plain Daphne lets wait.
AT_ONCE = 40
#: How long missing notifications may take when nothing is broken any more. Of the plain pattern none come.
MISSING_SECONDS = {OURS: PATIENCE, PLAIN: 10.0}
#: How long, when nothing is missing any more, repetitions may take.
SETTLE_SECONDS, LOOK_SECONDS = 3.0, 0.2


class Clients:
    """Clients that follow until the block ends. ``say`` is called when one is sent away."""

    def __init__(self, pattern: str, history: list[Record], say: Callable[[str], None]) -> None:
        self.pattern, self.history, self.say = pattern, history, say
        self.listeners: list[Listener] = []
        #: Each line that can be cut, with its client's name.
        self.lines: list[tuple[Proxy, str]] = []
        self._stack = AsyncExitStack()
        self._following: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        await self._stack.aclose()

    @property
    def shown(self) -> int:
        """How many notifications the clients were shown so far, each counted once."""
        return sum(len(found) for one in self.listeners for found in one.shown.values())

    def observed(self) -> Iterator[Observed]:
        """Yield the errors that the clients themselves found."""
        for one in self.listeners:
            yield from one.observed()

    async def connect(self, fixtures: Sequence[Any], port: int, *, has_lines: bool) -> None:
        """Connect a client for each of the fixtures. Raises TimeoutError, with how many wait in vain."""
        kind = PlainListener if self.pattern == PLAIN else OurListener
        for about in fixtures:
            line = await self._line(port, about["name"]) if has_lines else port
            self.listeners.append(kind(about, line, self.history))
        await self.connect_all(PATIENCE + len(self.listeners) / 10)

    async def connect_all(self, seconds: float) -> None:
        """Connect the known clients, some at once. Raises TimeoutError, as `connect`."""
        limit = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(self._connect(one, limit) for one in self.listeners))
        except TimeoutError:
            waiting = sum(not one.is_ready.is_set() for one in self.listeners)
            text = (
                f"After {seconds:.0f} s {waiting} of {len(self.listeners)} clients still wait for"
                " an answer."
            )
            raise TimeoutError(text) from None

    async def wait_for(self, committed: Sequence[Committed]) -> None:
        """Wait until all were shown what is due, no longer than it may take; then for repetitions."""
        expected: dict[str, set[str]] = defaultdict(set)
        for change in committed:
            for stream in change.streams:
                expected[stream].add(change.content)
        end = time.monotonic() + MISSING_SECONDS[self.pattern]
        waiting = [one for one in self.listeners if one.is_allowed]
        while waiting and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
            waiting = [
                one
                for one in waiting
                if not all(expected[stream] <= one.shown[stream] for stream in one.streams)
            ]
        await asyncio.sleep(SETTLE_SECONDS)

    async def follow(self, listener: Listener) -> None:
        """Have a client follow. If it is sent away, that is noted."""
        try:
            await listener.run()
        except Exception as error:  # noqa: BLE001  # whatever it is, a client that should follow does not
            self.say(f"{listener.name} was sent away: {error!r}")
            listener.observe("lost", f"was sent away: {error!r}")
        finally:
            listener.is_ready.set()  # nothing waits for a client that won't come any more

    async def _line(self, port: int, name: str) -> int:
        line = await self._stack.enter_async_context(Proxy(f"ws://127.0.0.1:{port}"))
        self.lines.append((line, name))
        return int(line.port)

    async def _connect(self, listener: Listener, limit: asyncio.Semaphore) -> None:
        async with limit:
            self._following.append(asyncio.create_task(self.follow(listener)))
            await listener.is_ready.wait()
