"""Catch-up: a subscription's notifications after its offset, from the database, page by page."""

from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS

from ...conf import pillarbox_settings
from ...exceptions import UnknownObjectTypeError
from ...layer.envelope import ends, notification_frame, skipped_frame
from ...stream import history
from ...stream.history import Position
from ...stream.rows import Row
from ..reasons import ResyncReason
from .subscription import Subscription


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One notification of the history, and what decides whether a socket may be sent it."""

    offset: int
    frame: str
    #: Whether it announces the deletion of the subscription's object.
    ends: bool
    #: Whether the object moved: users who may see it now may not see its earlier notifications.
    is_move: bool
    stamp: int
    transaction: int | None
    created_at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page of a stream's history: the entries after an offset, in order, and the stream's head."""

    head: Position
    entries: list[Entry]
    #: Whether a row follows that can't be sent yet: it must be published, or fail, first.
    waits: bool

    @property
    def stamp(self) -> int:
        """Return the offset of the last end of a right that may have been committed before an entry."""
        return max((entry.stamp for entry in self.entries), default=0)

    def after(self, subscription: Subscription) -> tuple[list[Entry], ResyncReason | None]:
        """
        Return the entries that a subscription may be sent, and the reason if continuity is lost after them.

        The entries are contiguous from the subscription's position on. Each page is checked again, because
        retention may have deleted the next rows while the last page was sent.
        """
        position = subscription.position
        if self.head.epoch != position.epoch:
            return [], ResyncReason.EPOCH
        following: list[Entry] = []
        for entry in self.entries:
            if entry.offset != position.offset + len(following) + 1:
                return following, ResyncReason.PRUNED
            if entry.is_move:
                return following, ResyncReason.MOVED
            # The frame of a deletion has only the id, which the subscriber knows.
            if not entry.ends and subscription.hides(
                entry.stamp, entry.transaction, entry.created_at
            ):
                return following, ResyncReason.RIGHTS
            following.append(entry)
        is_hole = not self.entries and not self.waits and position.offset < self.head.offset
        return following, ResyncReason.PRUNED if is_hole else None


def read_page(stream: str, offset: int) -> Page:
    """Return the next page of a stream's history after an offset."""
    # The head is read first: rows numbered in between make one page more, never a hole.
    head = history.head(stream, using=DEFAULT_DB_ALIAS)
    limit = pillarbox_settings().CATCH_UP_ROWS
    entries: list[Entry] = []
    for row in history.after(stream, offset, limit, using=DEFAULT_DB_ALIAS):
        frame = _frame(row)
        if frame is None:
            return Page(head=head, entries=entries, waits=True)
        entries.append(_entry(row, frame))
    return Page(head=head, entries=entries, waits=False)


def _entry(row: Row, frame: str) -> Entry:
    is_end = ends(row)
    return Entry(
        offset=row.offset,
        frame=frame,
        ends=is_end,
        is_move=row.is_move and not is_end,
        stamp=row.stamp,
        transaction=row.transaction,
        created_at=row.created_at,
    )


def _frame(row: Row) -> str | None:
    """Return the frame of a row; None if sockets must wait until the row is published, or fails."""
    if row.deaths:
        return None
    try:
        return skipped_frame(row) if row.is_skipped else notification_frame(row)
    except UnknownObjectTypeError:
        # A published row whose type is no longer registered can't be rendered.
        return None if row.is_pending else skipped_frame(row)
