"""One socket's interest in one stream: where it stands, and what the database has for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

from django.db import DEFAULT_DB_ALIAS

from ..outbox import history
from ..outbox.history import Position
from ..outbox.payload import plain
from .conf import realtime_settings
from .envelope import ends, notification_frame, skipped_frame
from .exceptions import UnknownObjectTypeError
from .groups import group_for, stream_for
from .registry import OWN, owner_type


class Verdict(Enum):
    """What to do with a notification that arrives."""

    FORWARD = auto()
    DROP = auto()
    CATCH_UP = auto()


@dataclass(kw_only=True, slots=True)
class Subscription:
    """Keeps one number: the offset of the last notification its socket was sent."""

    object_type: str
    id: str
    pk: Any
    epoch: str = ""
    offset: int = 0

    @classmethod
    def of(cls, user: Any, values: Mapping[str, Any]) -> Self:
        """Return the subscription that a user's valid command is about; ``me`` is that user."""
        own = {"pk": user.pk} if values["object_type"] == OWN.name else {}
        return cls(**{**values, **own})

    @property
    def subject(self) -> dict[str, str]:
        """What the subscription is about, as frames say it."""
        return {"object_type": self.object_type, "id": self.id}

    @property
    def stream(self) -> str:
        return stream_for(self.object_type, self.pk)

    @property
    def group(self) -> str:
        return group_for(self.stream)

    def judge(self, epoch: str, offset: int, *, complete: bool) -> Verdict:
        """
        Say what to do with a notification of this position; ``complete`` says that it has its frame.

        The next one is forwarded, an earlier one dropped; anything else is a gap, and the database
        knows what is in it.
        """
        if epoch == self.epoch and offset <= self.offset:
            return Verdict.DROP
        if epoch == self.epoch and offset == self.offset + 1 and complete:
            return Verdict.FORWARD
        return Verdict.CATCH_UP


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One notification, read back: its offset, its frame, and whether the object ends with it."""

    offset: int
    frame: str
    ends: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What the history has after an offset, in order."""

    head: Position
    entries: list[Entry]
    #: Whether a row follows that can't be shown yet: it has to be published, or to fail, first.
    waits: bool


def open_position(user: Any, subscription: Subscription) -> Position | None:
    """Return where a new subscription starts; None if the user sees no such object."""
    if not is_visible(user, subscription):
        return None
    return history.head(subscription.stream, using=DEFAULT_DB_ALIAS)


def is_visible(user: Any, subscription: Subscription) -> bool:
    """Whether the user may see what the subscription is about. One query, whatever the answer."""
    visible = owner_type(subscription.object_type).visible_to(user)
    return visible.filter(pk=subscription.pk).exists()


def read_page(stream: str, offset: int) -> Page:
    """Return the next page of a stream's history after an offset."""
    # The head is read first: rows numbered in between are one page more, never a hole.
    head = history.head(stream, using=DEFAULT_DB_ALIAS)
    limit = realtime_settings().CATCH_UP_ROWS
    entries: list[Entry] = []
    for row in history.after(stream, offset, limit, using=DEFAULT_DB_ALIAS):
        if row.deaths:
            return Page(head=head, entries=entries, waits=True)
        try:
            frame = skipped_frame(row) if row.is_failed else notification_frame(row)
        except UnknownObjectTypeError:
            return Page(head=head, entries=entries, waits=True)
        entries.append(Entry(offset=row.offset, frame=frame, ends=ends(row)))
    return Page(head=head, entries=entries, waits=False)


def read_present(user: Any, subscription: Subscription) -> tuple[Position, Any] | None:
    """
    Return where the stream stands and the object as it is now; None if the user sees no such object.

    The object of a collection is left out: it is its owner's, not what subscribers follow.
    """
    # The position is read before the object: an overlap is a harmless repeat, a hole is not.
    position = open_position(user, subscription)
    owner = owner_type(subscription.object_type)
    instance = owner.visible_to(user).filter(pk=subscription.pk).first()
    if position is None or instance is None:
        return None
    is_object = owner.name == subscription.object_type
    return position, plain(owner.payload(instance), owner.name) if is_object else None
