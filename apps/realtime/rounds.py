"""What is done for all sockets of a process at times: heartbeats, position checks, re-authorisation."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from django.db import DEFAULT_DB_ALIAS

from ..outbox.history import Position
from ..outbox.models import shard_of
from ..outbox.numbering import number_overdue
from .conf import realtime_settings
from .database import DATABASE_AWAY, in_rounds, limited
from .deadlines import clock
from .metrics import BEHIND, LOST, present
from .positions import batches, compare, is_doubtful, positions_of
from .rights import IN_THE_DARK, rule
from .socket import Socket
from .waiting import AT_ONCE, Waiting

logger = logging.getLogger(__name__)

#: Looks in the time in which a lost push must be found: it takes two, and the second one takes a while.
LOOKS = 2.5
#: Between looks whose heartbeat is due, and who takes nothing.
LOOK_SECONDS = 0.5


class Rounds:
    """Goes its rounds as long as there are sockets. One for each event loop, and so for each process."""

    def __init__(self) -> None:
        self.sockets: set[Socket] = set()
        #: Who comes in leaves a thread to who is in. After a restart all come at once: if each of the few
        #: queries that it takes waited behind all others' first one, nobody would get through in time.
        self.door = asyncio.Semaphore(max(1, realtime_settings().DATABASE_THREADS - 1))
        self._of_user: Counter[Any] = Counter()
        self._asking: WeakValueDictionary[Any, asyncio.Semaphore] = WeakValueDictionary()
        self._tasks: list[asyncio.Task[None]] = []
        #: Where the streams stood at the last look.
        self._seen: dict[str, Position] = {}
        #: Sockets whose rights may have become fewer, and those that may have missed something.
        self._in_doubt = Waiting(self._rule)
        self._behind = Waiting(self._look)

    def is_full(self, user: Any) -> bool:
        """Whether a user has as many sockets in this process as may be."""
        return self._of_user[user.pk] >= realtime_settings().SOCKETS_PER_USER

    def enter(self, socket: Socket) -> None:
        """Look after a socket, whose user is known, from now on."""
        self.sockets.add(socket)
        self._of_user[socket.user.pk] += 1
        socket.asking = self._asking.setdefault(socket.user.pk, socket.asking)
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
        self._of_user[socket.user.pk] -= 1
        if not self._of_user[socket.user.pk]:
            del self._of_user[socket.user.pk]
        if not self.sockets:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for waiting in (self._in_doubt, self._behind):
                await waiting.end()

    def doubt(self, sockets: Iterable[Socket]) -> None:
        """Ask soon what sockets may still follow, many together, and tell them."""
        self._in_doubt.add(sockets)

    def note_behind(self, socket: Socket) -> None:
        """Look soon at what a socket may have missed, many together, and remind it of that."""
        self._behind.add([socket])

    async def look_at_clients(self) -> None:
        """Remind each socket whose time it is of its heartbeat; cut off those whose clients take nothing."""
        now, patience = clock().now, realtime_settings().SLOW_SECONDS
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
        numbered = await in_rounds("positions", number_overdue, interval, using=DEFAULT_DB_ALIAS)
        now = await positions_of(self.sockets)
        before = {
            stream: position if shard_of(stream) in numbered else self._seen.get(stream)
            for stream, position in now.items()
        }
        self._seen = now
        for sockets in batches(self.sockets, AT_ONCE):
            for socket in sockets:
                LOST.inc(compare(socket, now, before))
            self.doubt(socket for socket in sockets if is_doubtful(socket, now))
            await asyncio.sleep(0)  # others have something to do, too

    async def reauthorise(self) -> None:
        """Ask again what each socket may follow, and tell it."""
        self.doubt(self.sockets)

    async def _rule(self, sockets: list[Socket]) -> None:
        """Have sockets told what they may keep. If it can't be asked of all together, ask of each."""
        try:
            await _tell(sockets)
        except Exception:  # noqa: BLE001  # a permission is somebody else's code
            for socket in sockets:  # pragma: no branch  # no way out is seen
                await self._rule_alone(socket)

    async def _rule_alone(self, socket: Socket) -> None:
        try:
            await _tell([socket])
        except DATABASE_AWAY as error:
            socket.rights_offset = -1  # the next position check asks again
            _note(error)
        except Exception as error:  # noqa: BLE001  # as above
            _note(error, list(socket.subscriptions))
            socket.ruling = IN_THE_DARK
            socket.remind("obey")

    async def _look(self, sockets: list[Socket]) -> None:
        """Remind sockets of what they have missed; what can't be looked at is the position check's."""
        try:
            now = await positions_of(sockets)
        except Exception as error:  # noqa: BLE001  # whatever it is, others wait to be looked at
            _note(error)
            return
        for socket in sockets:
            BEHIND.inc(compare(socket, now, now))
        self.doubt(socket for socket in sockets if is_doubtful(socket, now))


async def _tell(sockets: list[Socket]) -> None:
    rulings = await in_rounds("rights", limited(rule), [socket.holding for socket in sockets])
    for socket, ruling in zip(sockets, rulings, strict=True):
        socket.ruling = ruling
        socket.remind("obey")


async def _repeat(seconds: Callable[[], float], step: Callable[[], Awaitable[None]]) -> None:
    """Take a step again and again; one that fails is a line in the log."""
    while True:
        await asyncio.sleep(seconds())
        try:
            await step()
        except Exception as error:  # noqa: BLE001  # whatever it is, the next round comes
            _note(error)


def _note(error: Exception, streams: Sequence[str] = ()) -> None:
    if isinstance(error, DATABASE_AWAY):
        logger.warning("The database is away: %r", error, extra={"action": "database_away"})
    else:
        known = {"action": "round_failed", "streams": streams}
        logger.error("A round failed", exc_info=error, extra=known)


_rounds: "WeakKeyDictionary[asyncio.AbstractEventLoop, Rounds]" = WeakKeyDictionary()


def count_sockets() -> tuple[int, int]:
    """Return how many sockets this process has, and how many subscriptions; from any thread."""
    sockets = [socket for each in list(_rounds.values()) for socket in list(each.sockets)]
    return len(sockets), sum(len(socket.subscriptions) for socket in sockets)


def rounds() -> Rounds:
    """Return the rounds of the running event loop."""
    return _rounds.setdefault(asyncio.get_running_loop(), Rounds())


present.asked |= {
    "notifier_sockets": lambda: count_sockets()[0],
    "notifier_subscriptions": lambda: count_sockets()[1],
}
