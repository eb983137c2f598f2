"""The bounded queue of one channel."""

import asyncio
from typing import Any

from ..metrics.sockets import DROPPED


class Queue:
    """
    The queue of one channel.

    On overflow, the message ``lost`` replaces all messages. Without ``lost`` the new message is dropped.
    """

    def __init__(self, capacity: int, capacity_bytes: int, lost: dict[str, Any] | None) -> None:
        self._capacity, self._capacity_bytes, self._lost = capacity, capacity_bytes, lost
        self._queue: asyncio.Queue[tuple[dict[str, Any], int]] = asyncio.Queue()
        self._bytes = 0

    def __len__(self) -> int:
        return self._queue.qsize()

    def put(self, message: dict[str, Any], size: int) -> None:
        """Add a message of ``size`` bytes, if there is place."""
        if len(self) < self._capacity and self._bytes + size <= self._capacity_bytes:
            self._queue.put_nowait((message, size))
            self._bytes += size
        elif self._lost is None:
            DROPPED.inc()
        else:
            DROPPED.inc(len(self) + 1)
            while len(self):
                self._queue.get_nowait()
            self._bytes = 0
            self.put_lost()

    def put_lost(self) -> None:
        """Add the message about lost messages, if the channel receives one."""
        if self._lost is not None:
            self.put(self._lost, 0)

    async def get(self) -> dict[str, Any]:
        """Remove and return the oldest message. Waits until there is one."""
        message, size = await self._queue.get()
        self._bytes -= size
        return message
