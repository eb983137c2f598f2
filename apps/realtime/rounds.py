"""What is done for all sockets of a process at times: heartbeats, position checks, re-authorisation."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import DEFAULT_DB_ALIAS

from ..outbox.history import Position, known_standings
from ..outbox.models import shard_of
from ..outbox.numbering import number_overdue
from .conf import realtime_settings
from .database import DATABASE_AWAY, in_rounds, limited
from .rights import rule
from .socket import Socket

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Streams that one query asks about, and sockets whose rights are looked at together.
STREAMS_AT_ONCE, SOCKETS_AT_ONCE = 1000, 100
#: Looks in the time in which a lost push must be found: it takes two, and the second one takes a while.
LOOKS = 2.5
#: Between looks whose heartbeat is due, and who takes nothing.
LOOK_SECONDS = 0.5


class Rounds:
    """Goes its rounds as long as there are sockets. One for each event loop, and so for each process."""

    def __init__(self) -> None:
        self.sockets: set[Socket] = set()
        self._of_user: Counter[Any] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        #: Where the streams stood at the last look.
        self._seen: dict[str, Position] = {}

    def is_full(self, user: Any) -> bool:
        """Whether a user has as many sockets in this process as may be."""
        return self._of_user[user.pk] >= realtime_settings().SOCKETS_PER_USER

    def enter(self, socket: Socket) -> None:
        """Look after a socket, whose user is known, from now on."""
        self.sockets.add(socket)
        self._of_user[socket.user.pk] += 1
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(_repeat(seconds, step))
                for seconds, step in (
                    (lambda: LOOK_SECONDS, self.look_at_clients),
                    (
                        lambda: realtime_settings().POSITION_CHECK_SECONDS / LOOKS,
                        self.check_positions,
                    ),
                    (lambda: realtime_settings().REAUTHORISE_SECONDS, self.reauthorise),
                )
            ]

    async def leave(self, socket: Socket) -> None:
        """Forget a socket."""
        if socket not in self.sockets:
            return
        self.sockets.remove(socket)
        self._of_user -= Counter([socket.user.pk])
        if not self.sockets:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def look_at_clients(self) -> None:
        """Remind each socket whose time it is of its heartbeat; cut off those whose clients take nothing."""
        now, patience = asyncio.get_running_loop().time(), realtime_settings().SLOW_SECONDS
        for socket in self.sockets:
            if now >= socket.heartbeat_at:
                socket.remind("heartbeat")
            if socket.sending_since is not None and now - socket.sending_since >= patience:
                socket.cut()

    async def check_positions(self) -> None:
        """
        Compare where sockets stand with where their streams do, and have those catch up that lag.

        What no worker numbered is numbered first. What lags at two looks has been lost on its way, and
        so has what only this process could number.
        """
        interval = realtime_settings().POSITION_CHECK_SECONDS / LOOKS
        numbered = await in_rounds(lambda: number_overdue(interval, using=DEFAULT_DB_ALIAS))
        now = await self._positions()
        before = {
            stream: position if shard_of(stream) in numbered else self._seen.get(stream)
            for stream, position in now.items()
        }
        self._seen = now
        for sockets in _batches(self.sockets, SOCKETS_AT_ONCE):
            for socket in sockets:
                _compare(socket, now, before)
            await asyncio.sleep(0)  # others have something to do, too

    async def reauthorise(self) -> None:
        """Ask again what each socket may follow, and tell it."""
        for sockets in _batches(self.sockets, SOCKETS_AT_ONCE):
            rulings = await in_rounds(limited(rule), [socket.holding for socket in sockets])
            for socket, ruling in zip(sockets, rulings, strict=True):
                socket.ruling = ruling
                socket.remind("obey")

    async def _positions(self) -> dict[str, Position]:
        """Return where all streams stand that sockets follow; those that there aren't are left out."""
        found: dict[str, Position] = {}
        for names in _batches(set(_streams(self.sockets)), STREAMS_AT_ONCE):
            asked = dict.fromkeys(names)
            standings = await in_rounds(limited(known_standings), asked, using=DEFAULT_DB_ALIAS)
            found |= {stream: standing.head for stream, standing in standings.items()}
        return found


def _compare(
    socket: Socket, now: Mapping[str, Position], before: Mapping[str, Position | None]
) -> None:
    """Remind a socket of what lags."""
    for stream, subscription in socket.subscriptions.items():
        if subscription.lags(now.get(stream), before.get(stream)):
            socket.remind("catch_up", stream)
    rights = now.get(socket.rights)
    if socket.note_rights(0 if rights is None else rights.offset):
        socket.remind("reconsider")


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    known = list(items)
    return (known[start : start + size] for start in range(0, len(known), size))


def _streams(sockets: Iterable[Socket]) -> Iterator[str]:
    for socket in sockets:
        yield from socket.subscriptions
        yield socket.rights


async def _repeat(seconds: Callable[[], float], step: Callable[[], Awaitable[None]]) -> None:
    """Take a step again and again; one that fails is a line in the log."""
    while True:
        await asyncio.sleep(seconds())
        try:
            await step()
        except DATABASE_AWAY as error:
            logger.warning("The database is away: %s", error, extra={"action": "database_away"})
        except Exception:
            logger.exception("A round failed", extra={"action": "round_failed"})


_rounds: "WeakKeyDictionary[asyncio.AbstractEventLoop, Rounds]" = WeakKeyDictionary()


def rounds() -> Rounds:
    """Return the rounds of the running event loop."""
    return _rounds.setdefault(asyncio.get_running_loop(), Rounds())
