"""Position checks: comparison of subscriptions with their streams' heads, many sockets to a query."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from django.db import DEFAULT_DB_ALIAS

from ...conf import pillarbox_settings
from ...database import limited
from ...metrics.sockets import BEHIND, LOST
from ...models import shard_of
from ...stream.history import Position, existing_stream_states
from ...stream.numbering import number_overdue
from ...stream.rendering.batches.due_shards import overdue_shards
from ...stream.rendering.renderer import render_in_place_of_workers
from ..access.ends_reader import EndsReader
from ..database import in_housekeeping, on_own_thread
from ..socket import Socket
from .access_checks import AccessChecks
from .batch_queue import BATCH_SIZE, BatchQueue
from .failures import log_failure

T = TypeVar("T")

#: Position checks per POSITION_CHECK_SECONDS. Finding a lost message takes two, and the second takes time.
CHECKS = 2.5
#: Searches for overdue rendering per position check. The next check numbers the rows it rendered.
RENDERING_SEARCHES = 4
#: The largest number of streams in one query.
STREAMS_AT_ONCE = 1000


class PositionChecks:
    """The position checks of an event loop's sockets."""

    def __init__(
        self, sockets: set[Socket], ends_reader: EndsReader, access_checks: AccessChecks
    ) -> None:
        self._sockets, self._ends_reader, self._access_checks = sockets, ends_reader, access_checks
        self._behind: BatchQueue[Socket] = BatchQueue(self._compare)
        #: The heads of the streams at the last check.
        self._heads: dict[str, Position] = {}
        #: Shards whose rows this process has rendered since then.
        self._rendered: set[int] = set()

    async def check(self) -> None:
        """
        Compare subscriptions with their streams' heads, and have lagging ones catch up.

        First numbers overdue rows that no worker has numbered. A subscription lags if it was already
        behind the head of the last check: the message must be lost. In shards that this process itself
        rendered or numbered, it lags at once: no worker seems to publish their rows.
        """
        await self._ends_reader.read()
        numbered = await in_housekeeping(
            "positions", number_overdue, between_checks(), using=DEFAULT_DB_ALIAS
        )
        here, self._rendered = numbered | self._rendered, set()
        now = await read_heads(self._sockets)
        before = {
            stream: head if shard_of(stream) in here else self._heads.get(stream)
            for stream, head in now.items()
        }
        self._heads = now
        for sockets in batches(self._sockets, BATCH_SIZE):
            for socket in sockets:
                LOST.inc(catch_up_lagging(socket, now, before))
            self._access_checks.request(s.access for s in sockets if s.access.needs_check)
            await asyncio.sleep(0)  # lets sockets run between two batches

    async def render_overdue(self) -> None:
        """
        Render overdue rows in place of the workers, except rows whose rendering killed a process before.

        It runs the project's serializers, which may never return. No other housekeeping waits for it.
        """
        shards = await in_housekeeping(
            "positions", overdue_shards, between_checks(), using=DEFAULT_DB_ALIAS
        )
        if shards:
            await on_own_thread(
                "rendering", render_in_place_of_workers, shards, using=DEFAULT_DB_ALIAS
            )
            self._rendered.update(shards)

    def note_behind(self, socket: Socket) -> None:
        """Called when a socket may have missed messages: compare its positions soon, if it is admitted."""
        if socket in self._sockets:
            self._behind.add([socket])

    async def end(self) -> None:
        """Drop the sockets that wait for a comparison, and cancel the running one."""
        await self._behind.end()

    async def _compare(self, sockets: list[Socket]) -> None:
        """Have those of a batch of sockets that lag catch up. A failed query is left to the next check."""
        try:
            now = await read_heads(sockets)
        except Exception as error:  # noqa: BLE001  # other sockets still wait for their turn
            log_failure(error)
            return
        for socket in sockets:
            BEHIND.inc(catch_up_lagging(socket, now, now))


async def read_heads(sockets: Iterable[Socket]) -> dict[str, Position]:
    """Return the heads of all streams that sockets subscribe to. Omits streams that don't exist."""
    found: dict[str, Position] = {}
    for names in batches(set(_streams(sockets)), STREAMS_AT_ONCE):
        offsets = dict.fromkeys(names)
        states = await in_housekeeping(
            "positions", limited(existing_stream_states), offsets, using=DEFAULT_DB_ALIAS
        )
        found |= {stream: state.head for stream, state in states.items()}
    return found


def catch_up_lagging(
    socket: Socket, now: Mapping[str, Position], before: Mapping[str, Position | None]
) -> int:
    """Schedule a catch-up of each subscription that lags behind the heads, and return their number."""
    lagging = [
        stream
        for stream, subscription in socket.subscriptions.items()
        if subscription.lags(now.get(stream), before.get(stream))
    ]
    for stream in lagging:
        socket.turns.schedule(socket.forwarder.catch_up, stream)
    return len(lagging)


def between_checks() -> float:
    """Return the seconds between two position checks."""
    return pillarbox_settings().POSITION_CHECK_SECONDS / CHECKS


def between_searches() -> float:
    """Return the seconds between two searches for overdue rendering."""
    return between_checks() / RENDERING_SEARCHES


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of at most ``size``."""
    known = list(items)
    return (known[start : start + size] for start in range(0, len(known), size))


def _streams(sockets: Iterable[Socket]) -> Iterator[str]:
    for socket in sockets:
        yield from socket.subscriptions
