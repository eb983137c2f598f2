"""One subscription of the Python client, and the queue of its items."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from .cursor import Cursor, Item, Unsubscribed

#: Items that may wait in one subscription. Beyond it the client stops reading, and so the server waits.
QUEUE_ITEMS = 1000


class Subscription:
    """
    An asynchronous iterator over the items of one object or collection, across the client's sockets.

    It ends after `unsubscribe` and after an `Unsubscribed`. If the client fails, it raises the client's
    error. A caller who stops iterating blocks the client's other subscriptions once the queue is full.
    """

    def __init__(
        self,
        object_type: str,
        id: str,  # noqa: A002  # the protocol's name
        cursor: Cursor,
        unsubscribe: Callable[["Subscription"], Awaitable[None]],
    ) -> None:
        self.object_type, self.id, self.cursor = object_type, id, cursor
        #: Done once the server has confirmed or refused the subscription.
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsubscribe = unsubscribe
        self._queue: deque[Item] = deque()
        self._changed = asyncio.Event()
        self._is_over = False
        self._error: Exception | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Return the key of the subscription in its client."""
        return self.object_type, self.id

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Item:
        while not self._queue:
            if self._is_over:
                raise self._error or StopAsyncIteration
            await self._change()
        self._changed.set()
        return self._queue.popleft()

    async def unsubscribe(self) -> None:
        """End the subscription and drop its waiting items. Does nothing the second time."""
        self._queue.clear()
        self.end(None)
        await self._unsubscribe(self)

    # Called by the client

    async def deliver(self, item: Item) -> None:
        """Add an item to the queue. Waits until there is room for it."""
        while len(self._queue) >= QUEUE_ITEMS and not self._is_over:
            await self._change()
        if self._is_over:
            return
        self._queue.append(item)
        self._changed.set()
        if isinstance(item, Unsubscribed):
            self.end(None)

    def accept(self) -> None:
        """Let the pending `Client.subscribe` return."""
        if not self.answered.done():
            self.answered.set_result(None)

    def refuse(self, error: Exception) -> None:
        """Raise an error in the pending `Client.subscribe`, if there is one."""
        if not self.answered.done():
            self.answered.set_exception(error)

    def end(self, error: Exception | None) -> None:
        """End the iteration after the waiting items, with the error, if there is one."""
        if not self._is_over:
            self._is_over, self._error = True, error
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
