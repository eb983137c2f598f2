"""Sockets for which something is to be done soon: together, since that costs hardly more than for one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from .socket import Socket

#: Sockets of one batch.
AT_ONCE = 100


class Waiting:
    """Sockets that wait for something to be done, many together, one batch after the other."""

    def __init__(self, step: Callable[[list[Socket]], Awaitable[None]]) -> None:
        self._step = step
        self._sockets: set[Socket] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, sockets: Iterable[Socket]) -> None:
        """Have sockets wait, once each."""
        self._sockets.update(sockets)
        if self._sockets and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Wait for nothing more."""
        self._sockets.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._sockets:
            batch = [self._sockets.pop() for _ in range(min(AT_ONCE, len(self._sockets)))]
            await self._step(batch)
