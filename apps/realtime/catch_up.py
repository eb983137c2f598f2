"""What the database has for a subscription: the notifications after its offset, page by page."""

from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS

from ..outbox import history
from ..outbox.history import Position
from ..outbox.rows import Row
from .conf import realtime_settings
from .envelope import ends, notification_frame, skipped_frame
from .exceptions import UnknownObjectTypeError


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One notification, read back: its offset, its frame, and what it is the end of."""

    offset: int
    frame: str
    #: Whether it announces that the object is gone.
    ends: bool
    #: Whether the object moved: what it was before is not for everybody who may see it now.
    is_move: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What the history has after an offset, in order."""

    head: Position
    entries: list[Entry]
    #: Whether a row follows that can't be shown yet: it has to be published, or to fail, first.
    waits: bool

    def after(self, position: Position) -> tuple[list[Entry], str]:
        """
        Return what may be sent to who stands there, and why no more may be, if continuity is lost.

        Contiguous from the position on, or not at all: each page is looked at again, since retention may
        have taken the next one while this one was sent.
        """
        if self.head.epoch != position.epoch:
            return [], "epoch"
        following: list[Entry] = []
        for entry in self.entries:
            if entry.offset != position.offset + len(following) + 1:
                return following, "pruned"
            if entry.is_move:
                return following, "moved"
            following.append(entry)
        is_hole = not self.entries and not self.waits and position.offset < self.head.offset
        return following, "pruned" if is_hole else ""


def read_page(stream: str, offset: int) -> Page:
    """Return the next page of a stream's history after an offset."""
    # The head is read first: rows numbered in between are one page more, never a hole.
    head = history.head(stream, using=DEFAULT_DB_ALIAS)
    limit = realtime_settings().CATCH_UP_ROWS
    entries: list[Entry] = []
    for row in history.after(stream, offset, limit, using=DEFAULT_DB_ALIAS):
        frame = _frame(row)
        if frame is None:
            return Page(head=head, entries=entries, waits=True)
        entries.append(Entry(offset=row.offset, frame=frame, ends=ends(row), is_move=row.is_move))
    return Page(head=head, entries=entries, waits=False)


def _frame(row: Row) -> str | None:
    """Return what a socket is sent of a row; None if it must wait for the row to be published, or to fail."""
    if row.deaths:
        return None
    try:
        return skipped_frame(row) if row.is_skipped else notification_frame(row)
    except UnknownObjectTypeError:
        # What was published can't be shown any more: its type is gone.
        return None if row.is_pending else skipped_frame(row)
