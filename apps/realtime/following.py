"""One subscription of a client: what came, until it is taken."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from .standing import Standing, Unsubscribed, Word

#: Words that may wait to be taken. The client reads no further then, and the server waits, too.
WAITING = 1000


class Subscription:
    """
    What a client hears of one subject, across its sockets, as an asynchronous iterator of words.

    It ends after `unsubscribe` and after an `Unsubscribed`; where the client ends, its error is raised.
    Whoever stops iterating holds up the client's other subscriptions, once so much waits.
    """

    def __init__(
        self,
        object_type: str,
        id: str,  # noqa: A002  # the protocol's word
        standing: Standing,
        leave: Callable[["Subscription"], Awaitable[None]],
    ) -> None:
        self.object_type, self.id, self.standing = object_type, id, standing
        #: Done when the server has answered for the first time.
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leave = leave
        self._waiting: deque[Word] = deque()
        self._changed = asyncio.Event()
        self._is_over = False
        self._error: Exception | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What it is about, as the client keeps it."""
        return self.object_type, self.id

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Word:
        while not self._waiting:
            if self._is_over:
                raise self._error or StopAsyncIteration
            await self._change()
        self._changed.set()
        return self._waiting.popleft()

    async def unsubscribe(self) -> None:
        """Follow no more; what waited is dropped. Doing it again does nothing."""
        self._waiting.clear()
        self.end(None)
        await self._leave(self)

    # What the client says to it

    async def give(self, word: Word) -> None:
        """Have a word taken; returns when there is room for it."""
        while len(self._waiting) >= WAITING and not self._is_over:
            await self._change()
        if self._is_over:
            return
        self._waiting.append(word)
        self._changed.set()
        if isinstance(word, Unsubscribed):
            self.end(None)

    def accept(self) -> None:
        """Whoever asked for it has it."""
        if not self.answered.done():
            self.answered.set_result(None)

    def refuse(self, error: Exception) -> None:
        """Whoever asked for it, and hasn't it, is told why."""
        if not self.answered.done():
            self.answered.set_exception(error)

    def end(self, error: Exception | None) -> None:
        """Nothing comes any more; after what waits, the error is raised, if there is one."""
        if not self._is_over:
            self._is_over, self._error = True, error
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
