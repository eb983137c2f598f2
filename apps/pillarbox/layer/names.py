"""The names of groups and channels that a link listens to, and the confirmations of Redis."""

import asyncio
from collections.abc import Callable, Iterable


class Names:
    """
    The wanted names, and what Redis has confirmed of them on the present connection.

    It calls ``missed(names)`` for names that are confirmed while no join waits for them.
    """

    def __init__(self, missed: Callable[[Iterable[str]], None]) -> None:
        self._missed = missed
        self._wanted: set[str] = set()
        self._changed = asyncio.Event()
        self._subscribed: set[str] = set()
        self._unconfirmed: set[str] = set()
        self._confirmed: set[str] = set()
        #: Unconfirmed names for which a join waits.
        self._awaited: dict[str, asyncio.Future[None]] = {}
        #: Confirmed names that may have missed messages.
        self._unreported: set[str] = set()

    def add(self, name: str) -> None:
        """Want a name."""
        self._wanted.add(name)
        self._changed.set()

    def discard(self, name: str) -> None:
        """Stop wanting a name."""
        self._wanted.discard(name)
        self._changed.set()

    def is_confirmed(self, name: str) -> bool:
        """Return whether messages for the name arrive."""
        return name in self._confirmed

    async def confirmation(self, name: str, seconds: float) -> None:
        """Wait until a name is confirmed or the connection is lost, but not longer than ``seconds``."""
        confirmation = self._awaited.setdefault(name, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(confirmation)
        except TimeoutError:
            # Without a waiting join, a late confirmation is reported as missed.
            self._awaited.pop(name, None)

    async def changes(self) -> tuple[list[str], list[str]]:
        """Wait for a change; return the names to subscribe to, and those to unsubscribe from."""
        await self._changed.wait()
        self._changed.clear()
        new, gone = list(self._wanted - self._subscribed), list(self._subscribed - self._wanted)
        self._subscribed = set(self._wanted)
        self._unconfirmed.update(new)
        self._confirmed.difference_update(gone)
        return new, gone

    def confirm(self, name: str) -> None:
        """Called when Redis has confirmed a subscription."""
        self._unconfirmed.discard(name)
        # If a name isn't wanted, a later join subscribes again, with a confirmation of its own.
        if name in self._wanted:
            self._confirmed.add(name)
            if waiting := self._awaited.pop(name, None):
                waiting.set_result(None)
            else:
                self._unreported.add(name)
        if not self._unconfirmed and self._unreported:
            self._missed(self._unreported)
            self._unreported = set()

    def forget_connection(self) -> None:
        """Called when the connection is lost. The wanted names are subscribed to on the next one."""
        for waiting in self._awaited.values():
            waiting.set_result(None)
        self._awaited = {}
        self._subscribed, self._unconfirmed = set(), set()
        self._confirmed, self._unreported = set(), set()
        self._changed.set()

    def clear(self) -> None:
        """Forget all names."""
        self._wanted.clear()
        self.forget_connection()
