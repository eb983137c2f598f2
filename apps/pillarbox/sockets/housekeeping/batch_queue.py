"""Batches: a step for a hundred sockets costs hardly more than the same step for a single one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from ..turns import cancel

T = TypeVar("T")

#: The largest size of a batch.
BATCH_SIZE = 100


class BatchQueue(Generic[T]):
    """A queue of items that wait for the same step, which runs for one batch after the other."""

    def __init__(self, step: Callable[[list[T]], Awaitable[None]]) -> None:
        self._step = step
        self._items: set[T] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, items: Iterable[T]) -> None:
        """Add items, and start the task that runs the step for them. Each item waits only once."""
        self._items.update(items)
        if self._items and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Drop the waiting items, and cancel the running step."""
        self._items.clear()
        await cancel(self._task)

    async def _run(self) -> None:
        while self._items:
            batch = [self._items.pop() for _ in range(min(BATCH_SIZE, len(self._items)))]
            await self._step(batch)
