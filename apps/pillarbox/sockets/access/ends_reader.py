"""The reader of ends of rights in a process: how far it has read, and what the ends affect."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.db import DEFAULT_DB_ALIAS

from ...conf import pillarbox_settings
from ...database import AWAY_OR_SLOW, limited
from ...deadlines import timeout
from ...exceptions import ShardBusyError
from ...layer.layers import OWN, notification_layer
from ...layer.receiving import receive
from ...logs import get_logger
from ...models import RIGHTS, RIGHTS_SHARD
from ...stream import history
from ...stream.ends_of_rights import End, ends_after
from ...stream.history import Position
from ...stream.numbering import number
from ...types.groups import group_for
from ..database import in_housekeeping, log_away
from .affected import Affected, Keys, affected_by, needs_database

logger = get_logger(__name__)

NOWHERE = Position(epoch="", offset=0)


class EndsReader:
    """
    A reader of the stream of ends of rights, for the sockets of one event loop.

    A notification's stamp is the last end that may have been committed before it. The notification is
    forwarded once this reader has read up to its stamp. A socket that an end affects first waits for an
    access check. A message of the channel layer is only a hint that there is something to read.

    ``followed`` returns the objects on which access to the sockets' subscriptions depends. ``note`` is called
    with what new ends affect.
    """

    def __init__(self, followed: Callable[[], Keys], note: Callable[[Affected], None]) -> None:
        self._followed, self._note = followed, note
        self._reading, self._joining = asyncio.Lock(), asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None
        self.position = NOWHERE

    def begin(self, head: Position) -> None:
        """Set the first position, if there is none yet: earlier ends can't affect any socket."""
        if self.position == NOWHERE:
            self.position = head

    async def reach(self, stamp: int) -> bool:
        """
        Return whether all ends up to a stamp are known, after reading new ones if necessary.

        False means that there is no such end in this database. Raises one of AWAY_OR_SLOW.
        """
        async with timeout(pillarbox_settings().DATABASE_SECONDS), self._reading:
            await self._read_up_to(stamp)
        return stamp <= self.position.offset

    async def read(self) -> None:
        """Read the new ends, and note which sockets they affect. Raises one of AWAY_OR_SLOW."""
        async with self._reading:
            await self._read()

    async def read_all(self) -> None:
        """Number the ends of rights that have no offset yet, then `read`. Raises one of AWAY_OR_SLOW."""
        await in_housekeeping("ends", _number_ends)
        await self.read()

    async def _read_up_to(self, stamp: int) -> None:
        # Many sockets wait for the first one to read.
        if stamp > self.position.offset:
            await self._read()

    async def _read(self) -> None:
        # Earlier ends affect no socket, since none has been authenticated yet.
        if self.position == NOWHERE:
            return
        known, has_more = self.position, True
        while has_more:
            head, ends = await in_housekeeping(
                "ends", limited(ends_after), known, using=DEFAULT_DB_ALIAS
            )
            is_looked_up = ends is not None and needs_database(ends)
            # A subscription that starts later reads from the database what these ends hide from it.
            followed = self._followed() if is_looked_up else {}
            affected = await self._affected_by(ends, followed)
            # A later end, not read yet, may hide which users lost a right with an earlier one.
            has_more = is_looked_up and await in_housekeeping("ends", _is_beyond, head)
        if affected.since:
            self._note(affected)
        # No task ran since the sockets were noted, so a task that sees the position sees their state, too.
        self.position = head

    async def listen(self) -> None:
        """
        Start a task that reads at each message of the ends' group, unless it runs already.

        Raises the channel layer's errors.
        """
        async with self._joining:
            await self._start_listening()

    async def end(self) -> None:
        """
        Called when the last socket has left: stop listening, and forget the position.

        Another socket may connect before this returns.
        """
        listening, self._listening, self.position = self._listening, None, NOWHERE
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _start_listening(self) -> None:
        if self._listening is None or self._listening.done():
            layer = notification_layer()
            channel = await layer.new_channel(OWN)
            await layer.group_add(group_for(RIGHTS), channel)
            self._listening = asyncio.create_task(self._listen(layer, channel))

    async def _listen(self, layer: Any, channel: str) -> None:
        try:
            while True:
                message = await receive(layer, channel)
                try:
                    if message.get("offset", self.position.offset + 1) > self.position.offset:
                        await self.read()
                except AWAY_OR_SLOW as error:  # the next position check reads
                    log_away(error)
        finally:
            await layer.group_discard(group_for(RIGHTS), channel)
            await getattr(layer, "end_channel", _nothing)(channel)

    async def _affected_by(self, ends: Sequence[End] | None, followed: Keys) -> Affected:
        """Return what ends affect: everybody, if it can't be found out."""
        if ends is None:
            return Affected(is_everybody=True, since=1)
        if not needs_database(ends):
            return affected_by(ends, followed)
        try:
            return await in_housekeeping("ends", limited(affected_by), ends, followed)
        except (FieldError, TimeoutError, ValidationError, ValueError):
            # There are too many, or another version has written a lookup that this one doesn't know.
            logger.exception("Ends of rights may affect anybody", extra={"action": "unknown_end"})
            return Affected(is_everybody=True, since=ends[0].offset)


def _number_ends() -> bool:
    """Number the committed ends that have no offset yet. Returns False if another process is doing it."""
    with suppress(ShardBusyError):
        number(RIGHTS_SHARD, using=DEFAULT_DB_ALIAS)
        return True
    return False


def _is_beyond(head: Position) -> bool:
    """Return whether ends after a head may be committed, numbered by this process or by another one."""
    return not _number_ends() or history.head(RIGHTS, using=DEFAULT_DB_ALIAS) != head


async def _nothing(channel: str) -> None:
    """Called with the channel if its layer forgets channels by itself."""
