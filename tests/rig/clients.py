"""The clients of a run, and the proxies between them and Daphne."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from tests.waiting import PATIENCE

from .checker.published import Skipped
from .history import Committed, Observed, Record
from .listeners import Listener, OurListener
from .plain.listener import PlainListener
from .proxy import Proxy
from .scenarios import OURS, PLAIN

#: How many clients connect at the same time: plain Daphne queues no more handshakes.
AT_ONCE = 40
#: How long to wait for missing notifications after the last fault. The plain pattern never sends them.
MISSING_SECONDS = {OURS: PATIENCE, PLAIN: 10.0}
#: How long to watch for repetitions once nothing is missing, and how often to look meanwhile.
SETTLE_SECONDS, LOOK_SECONDS = 3.0, 0.2


class Clients:
    """The clients of a run, which follow until the block ends. ``log`` gets a line when one of them fails."""

    def __init__(self, pattern: str, history: list[Record], log: Callable[[str], None]) -> None:
        self.pattern, self.history, self.log = pattern, history, log
        self.listeners: list[Listener] = []
        #: The proxies that can cut a client off, each with the client's name.
        self.proxies: list[tuple[Proxy, str]] = []
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
        """Count the notifications shown so far; a repetition doesn't count."""
        return sum(len(found) for one in self.listeners for found in one.shown.values())

    def observed(self) -> Iterator[Observed]:
        """Yield the errors that the clients detected themselves."""
        for one in self.listeners:
            yield from one.observed()

    async def connect(self, fixtures: Sequence[Any], port: int, *, through_proxies: bool) -> None:
        """Connect one client for each fixture. Raises TimeoutError, which says how many are still waiting."""
        kind = PlainListener if self.pattern == PLAIN else OurListener
        for about in fixtures:
            own = await self._proxied_port(port, about["name"]) if through_proxies else port
            self.listeners.append(kind(about, own, self.history))
        await self.connect_all(PATIENCE + len(self.listeners) / 10)

    async def connect_all(self, seconds: float) -> None:
        """Connect all clients, ``AT_ONCE`` at a time. Raises TimeoutError, as `connect` does."""
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

    async def wait_for(
        self, committed: Sequence[Committed], skipped: Skipped = frozenset()
    ) -> None:
        """Wait until each client has its notifications, or time is up; then watch for repetitions."""
        expected: dict[str, set[str]] = defaultdict(set)
        changes = {(stream, change.content) for change in committed for stream in change.streams}
        for stream, content in changes.difference(skipped):
            expected[stream].add(content)
        end = time.monotonic() + MISSING_SECONDS[self.pattern]
        waiting = [one for one in self.listeners if one.is_allowed and not one.is_guest]
        while waiting and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
            waiting = [
                one
                for one in waiting
                if not all(expected[stream] <= one.shown[stream] for stream in one.streams)
            ]
        await asyncio.sleep(SETTLE_SECONDS)

    async def follow(self, listener: Listener) -> None:
        """Run a client until it fails; record the failure as a loss."""
        try:
            await listener.run()
        except Exception as error:  # noqa: BLE001  # whatever the error, the client follows no longer
            self.log(f"{listener.name} stopped following: {error!r}")
            listener.record_error("lost", f"stopped following: {error!r}")
        finally:
            listener.is_ready.set()  # `connect_all` must not wait for a client that has failed

    async def _proxied_port(self, port: int, name: str) -> int:
        proxy = await self._stack.enter_async_context(Proxy(f"ws://127.0.0.1:{port}"))
        self.proxies.append((proxy, name))
        return int(proxy.port)

    async def _connect(self, listener: Listener, limit: asyncio.Semaphore) -> None:
        async with limit:
            self._following.append(asyncio.create_task(self.follow(listener)))
            await listener.is_ready.wait()
