"""The clients of a run, all at once, and the lines that lead them to Daphne."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from .history import Committed, Observed, Record
from .listeners import Listener, OurListener, PlainListener
from .proxy import Proxy
from .stage import OURS, PLAIN

#: Sockets that come in at once: as many as plain Daphne lets wait.
AT_THE_DOOR = 40
#: How long what is missing may take when nothing is broken any more; of the plain pattern nothing more comes.
PATIENCE = {OURS: 60.0, PLAIN: 10.0}
#: How long, when nothing is missing any more, what comes too much may take.
SETTLE_SECONDS, LOOK_SECONDS = 3.0, 0.2


class Crowd:
    """Clients that follow until the block ends. ``say`` is told of who is sent away."""

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
    def heard(self) -> int:
        """How many notifications the clients were shown so far, each once."""
        return sum(len(found) for one in self.listeners for found in one.heard.values())

    def observed(self) -> Iterator[Observed]:
        """Yield what the clients found wrong, in the end."""
        for one in self.listeners:
            yield from one.observed()

    async def let_in(self, cast: Sequence[Any], port: int, *, has_lines: bool) -> None:
        """Let everybody in. Raises TimeoutError, saying how many wait in vain."""
        kind = PlainListener if self.pattern == PLAIN else OurListener
        for about in cast:
            line = await self._line(port, about["name"]) if has_lines else port
            self.listeners.append(kind(about, line, self.history))
        await self.enter(PATIENCE[OURS] + len(self.listeners) / 10)

    async def enter(self, seconds: float) -> None:
        """The clients that are known come in, some at once. Raises TimeoutError, as `let_in`."""
        door = asyncio.Semaphore(AT_THE_DOOR)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(self._enter(one, door) for one in self.listeners))
        except TimeoutError:
            waiting = sum(not one.is_ready.is_set() for one in self.listeners)
            text = (
                f"After {seconds:.0f} s {waiting} of {len(self.listeners)} clients are not in yet."
            )
            raise TimeoutError(text) from None

    async def wait_for(self, committed: Sequence[Committed]) -> None:
        """Wait until all were shown what is due, no longer than it may take; and for what is too much."""
        expected: dict[str, set[str]] = defaultdict(set)
        for change in committed:
            for stream in change.streams:
                expected[stream].add(change.content)
        end = time.monotonic() + PATIENCE[self.pattern]
        waiting = [one for one in self.listeners if one.is_allowed]
        while waiting and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
            waiting = [
                one
                for one in waiting
                if not all(expected[stream] <= one.heard[stream] for stream in one.streams)
            ]
        await asyncio.sleep(SETTLE_SECONDS)

    async def follow(self, listener: Listener) -> None:
        """Have one follow; that it is sent away is noted."""
        try:
            await listener.run()
        except Exception as error:  # noqa: BLE001  # whatever it is, who should follow does not
            self.say(f"{listener.name} was sent away: {error!r}")
            listener.observe("lost", f"was sent away: {error!r}")
        finally:
            listener.is_ready.set()  # nobody waits for who won't come any more

    async def _line(self, port: int, name: str) -> int:
        line = await self._stack.enter_async_context(Proxy(f"ws://127.0.0.1:{port}"))
        self.lines.append((line, name))
        return int(line.port)

    async def _enter(self, listener: Listener, door: asyncio.Semaphore) -> None:
        async with door:
            self._following.append(asyncio.create_task(self.follow(listener)))
            await listener.is_ready.wait()
