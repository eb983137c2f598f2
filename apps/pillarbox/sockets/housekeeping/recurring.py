"""Housekeeping for all sockets of a process: heartbeats, position checks, re-authorisation."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from ...conf import pillarbox_settings
from ...deadlines import clock
from ...metrics.sockets import gauges
from ...stream.history import Position
from ..access.access import Access
from ..access.affected import Affected, object_of
from ..access.ends_reader import EndsReader
from ..socket import Socket
from .access_checks import AccessChecks
from .failures import log_failure
from .positions import PositionChecks, between_checks, between_searches

#: Seconds between two searches for due heartbeats and for clients that don't read.
CLIENT_SECONDS = 0.5


class Housekeeping:
    """The housekeeping of an event loop's sockets. It runs while there are any; a process has one loop."""

    def __init__(self) -> None:
        self.sockets: set[Socket] = set()
        #: New connections leave one database thread free for connected sockets. After a restart all clients
        #: connect at once. Without a limit each of a connection's queries would wait behind the first queries
        #: of all others, and no connection would be finished in time.
        self.admission_limit = asyncio.Semaphore(max(1, pillarbox_settings().DATABASE_THREADS - 1))
        self.ends_reader = EndsReader(self._followed, self._note)
        self._checks = AccessChecks()
        self.positions = PositionChecks(self.sockets, self.ends_reader, self._checks)
        self._sockets_of: Counter[Any] = Counter()
        self._read_limits: WeakValueDictionary[Any, asyncio.Semaphore] = WeakValueDictionary()
        self._tasks: list[asyncio.Task[None]] = []

    # Sockets

    def is_full(self, user: Any) -> bool:
        """Return whether a user has ``SOCKETS_PER_USER`` sockets in this process already."""
        return self._sockets_of[user.pk] >= pillarbox_settings().SOCKETS_PER_USER

    def enter(self, socket: Socket, checked_up_to: Position) -> None:
        """
        Add a newly authenticated socket, and start the housekeeping if it is the first one.

        The authentication has seen ends of rights up to a position. Later ones lead to an access check.
        """
        self.ends_reader.begin(checked_up_to)
        self.sockets.add(socket)
        if self.ends_reader.position.offset > checked_up_to.offset:
            socket.access.affect((), checked_up_to.offset + 1)
        pk = socket.access.user.pk
        self._sockets_of[pk] += 1
        socket.reads.limit = self._read_limits.setdefault(pk, socket.reads.limit)
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(_repeat(seconds, step))
                for seconds, step in (
                    (lambda: CLIENT_SECONDS, self.check_clients),
                    (between_checks, self.positions.check),
                    (between_searches, self.positions.render_overdue),
                    (lambda: pillarbox_settings().REAUTHORISE_SECONDS, self.reauthorise),
                    (between_checks, self.ends_reader.listen),
                )
            ]

    async def leave(self, socket: Socket) -> None:
        """Remove a socket, if it was added, and stop the housekeeping after the last one."""
        if socket not in self.sockets:
            return
        self.sockets.remove(socket)
        pk = socket.access.user.pk
        self._sockets_of[pk] -= 1
        if not self._sockets_of[pk]:
            del self._sockets_of[pk]
        if not self.sockets:
            tasks, self._tasks = self._tasks, []
            await self.ends_reader.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._checks.end()
            await self.positions.end()

    # Recurring steps

    async def check_clients(self) -> None:
        """Schedule due heartbeats, cut sockets whose clients have stopped reading, and end expired ones."""
        now, patience = clock().now, pillarbox_settings().SLOW_SECONDS
        for socket in self.sockets:
            try:
                _check_client(socket, now, patience)
            except Exception as error:  # noqa: BLE001  # a scope has values of the project, and others go on
                log_failure(error, socket.access.streams)
                socket.access.deny()

    async def reauthorise(self) -> None:
        """Request an access check of every socket."""
        self._checks.request(socket.access for socket in self.sockets)

    def request_check(self, access: Access) -> None:
        """Request an access check of one socket."""
        self._checks.request([access])

    # Ends of rights

    def _followed(self) -> dict[str, set[Any]]:
        """Return, by type, the keys of the objects on which access to the sockets' subscriptions depends."""
        followed: dict[str, set[Any]] = defaultdict(set)
        for socket in self.sockets:
            for subscription in socket.subscriptions.with_requested:
                name, _ = object_of(subscription)
                followed[name].add(subscription.pk)
        return followed

    def _note(self, affected: Affected) -> None:
        """Have the sockets that ends of rights affect wait for an access check."""
        for socket in self.sockets:
            socket.access.note(affected)


def _check_client(socket: Socket, now: float, patience: float) -> None:
    connection = socket.connection
    if now >= connection.heartbeat_at:
        socket.turns.schedule(connection.send_heartbeat)
    if connection.sending_since is not None and now - connection.sending_since >= patience:
        connection.cut()
    socket.access.check_expiry()


async def _repeat(seconds: Callable[[], float], step: Callable[[], Awaitable[None]]) -> None:
    """Run a step at intervals, for ever. Logs its errors."""
    while True:
        await asyncio.sleep(seconds())
        try:
            await step()
        except Exception as error:  # noqa: BLE001  # the step runs again in any case
            log_failure(error)


_of_loop: "WeakKeyDictionary[asyncio.AbstractEventLoop, Housekeeping]" = WeakKeyDictionary()


def housekeeping() -> Housekeeping:
    """Return the housekeeping of the running event loop."""
    loop = asyncio.get_running_loop()
    if (known := _of_loop.get(loop)) is None:
        known = _of_loop[loop] = Housekeeping()
    return known


def count_sockets() -> tuple[int, int]:
    """Return the number of sockets and of subscriptions of this process. Any thread may call it."""
    sockets = [socket for each in list(_of_loop.values()) for socket in list(each.sockets)]
    return len(sockets), sum(len(socket.subscriptions) for socket in sockets)


gauges.functions |= {
    "notifier_sockets": lambda: count_sockets()[0],
    "notifier_subscriptions": lambda: count_sockets()[1],
}
