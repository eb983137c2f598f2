"""Erasures: what the outbox keeps of objects is blanked in batches, with entries in the admin's log."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ..conf import pillarbox_settings
from ..logs import get_logger
from ..replay.audit import log_on_stream
from ..replay.decisions import last_pk
from .rows import Held, blank_pending, blank_settled, cancel_rendering, held_batches
from .subject import Subject, subject_of

logger = get_logger(__name__)

#: The interval at which rows are tried again that others use.
PAUSE_SECONDS = 0.1
#: An erasure ends if others use all the rows that are left for this many LOCK_IDLE_SECONDS, after which
#: PostgreSQL has ended the transactions of stopped workers.
PATIENCE = 8


class Erasure:
    """
    The erasure of what the outbox keeps of some objects.

    Each batch is a transaction of its own, so a second erasure continues one that was killed.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        #: The number of rows blanked so far.
        self.erased = 0
        #: After the end, the number of rows that were not blanked, because others used them.
        self.left = 0

    def carry_out(self, *, by: Any = None, reason: str = "") -> Iterator[int]:
        """
        Blank the rows, and yield after each batch how many rows were blanked so far.

        Changes that are captured meanwhile stay. The admin's log gets entries in the name of the user
        ``by``. Raises RuntimeError in a transaction, and ShardBusyError like `cancel_rendering`.
        """
        cancel_rendering(self.subject)
        self._log("Erasure begun", reason, by)
        last = last_pk(using=self.subject.using)
        patience = PATIENCE * pillarbox_settings().LOCK_IDLE_SECONDS
        end = time.monotonic() + patience
        while True:
            before = self.erased
            yield from self._blank_held(last)
            # A replay may have copied a row before it was blanked. So the last pass must find none.
            if self.erased > before:
                end = time.monotonic() + patience
            elif self.left and time.monotonic() < end:
                time.sleep(PAUSE_SECONDS)
            else:
                break
        self._log("Erasure ended", f"{self.erased} rows erased in all, {self.left} left.", by)

    def _blank_held(self, last: int) -> Iterator[int]:
        """Blank the rows that hold something, in one pass over the outbox."""
        self.left = 0
        for batch in held_batches(self.subject, last=last):
            rows = _blank(self.subject, batch)
            self.erased += rows
            self.left += len(batch) - rows
            yield self.erased

    def _log(self, message: str, details: str, by: Any) -> None:
        by_pk = None if by is None else by.pk
        for stream in self.subject.streams:
            log_on_stream(stream, f"{message}: {details}", by_pk, using=self.subject.using)
            extra = {"action": "erasure", "stream": stream, "by": by_pk}
            logger.info(message, extra={**extra, "rows": self.erased, "left": self.left})


def erase(object_type: str, *pks: Any, by: Any = None, reason: str = "") -> Erasure:
    """
    Erase what the outbox keeps of objects, which may be deleted already; return the counts.

    ``erase("ticket", 17)`` blanks payloads, images and error messages of the object's rows in all streams,
    and ``erase("me", user.pk)`` those of a user's own stream. Included are the rows of objects that show
    these objects at present, by ``shows`` of their types. Subscribers who resume see the offsets as
    `skipped`. Call it after the commit that deletes the object. The admin's log gets entries if the user
    ``by`` is given. Raises UnknownObjectTypeError for a type that isn't registered or a key that its
    objects can't have, RuntimeError in a transaction, and ShardBusyError like `cancel_rendering`.
    """
    erasure = Erasure(subject_of(object_type, *pks))
    for _ in erasure.carry_out(by=by, reason=reason):
        pass
    return erasure


def _blank(subject: Subject, batch: Sequence[Held]) -> int:
    """Blank a batch of rows; return how many."""
    by_state: dict[tuple[bool, int], list[int]] = defaultdict(list)
    for row in batch:
        by_state[row.is_pending, row.shard].append(row.pk)
    return sum(
        (blank_pending if is_pending else blank_settled)(subject, shard, pks)
        for (is_pending, shard), pks in by_state.items()
    )
