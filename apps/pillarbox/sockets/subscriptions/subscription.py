"""One subscription: its position, what is hidden from it, and what to do with a notification."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

from ...stream.commit_snapshots import CommitSnapshot
from ...stream.history import Position
from ...types.groups import group_for, stream_for
from ...types.registry import OWN


class Action(Enum):
    """What a socket does with a notification that arrives."""

    FORWARD = auto()
    DROP = auto()
    CATCH_UP = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Barrier:
    """
    A limit that hides the rows committed between the end of a right and a later access check.

    Even if the check finds the right, it may have been missing in between. Rows committed then stay hidden.
    """

    #: The offset of the end of the right; 0 to hide all rows that ``until`` includes.
    since: int
    #: Taken after the access check. For a new subscription, it is that of the last end of a right.
    until: CommitSnapshot

    def hides(self, stamp: int, transaction: int | None, created_at: str) -> bool:
        """Return whether a row may have been committed with the end or later, and is in ``until``."""
        return stamp >= self.since and self.until.includes(transaction, created_at)


@dataclass(kw_only=True, slots=True)
class Subscription:
    """One socket's interest in one stream, with the position of the last notification that it was sent."""

    object_type: str
    id: str
    pk: Any
    epoch: str = ""
    offset: int = 0
    #: The head when the client resumed. Catch-up reads up to it count against the limit of the user's reads.
    resumed_to: int = 0
    #: When an access check found that the object is gone, while its DELETE hasn't arrived yet.
    gone_since: float | None = None
    #: The offset of the first end of a right that still needs an access check; 0 if there is none.
    affected_since: int = 0
    barrier: Barrier | None = None
    #: While a collection's snapshot is sent: the frame fields that name the answered command, and the primary
    #: key after which the next page begins.
    next_page: "tuple[dict[str, Any], Any] | None" = None

    @classmethod
    def of(cls, user: Any, values: Mapping[str, Any]) -> Self:
        """Return the subscription that a valid command names; ``me`` stands for the user's own stream."""
        pk = user.pk if values["object_type"] == OWN.name else values["pk"]
        return cls(object_type=values["object_type"], id=values["id"], pk=pk)

    @property
    def subject(self) -> dict[str, str]:
        """Return the object type and id by which frames name the subscription."""
        return {"object_type": self.object_type, "id": self.id}

    @property
    def stream(self) -> str:
        return stream_for(self.object_type, self.pk)

    @property
    def group(self) -> str:
        return group_for(self.stream)

    @property
    def position(self) -> Position:
        return Position(epoch=self.epoch, offset=self.offset)

    def move_to(self, position: Position) -> None:
        """Set the position."""
        self.epoch, self.offset = position.epoch, position.offset

    def raise_barrier(self, until: CommitSnapshot) -> None:
        """
        Hide the rows committed between the first end that affects the subscription and a snapshot.

        Called after an access check. Does nothing if no end affects the subscription.
        """
        # A user's own stream shows nothing but announcements to that user, so no end hides them.
        if self.affected_since and self.object_type != OWN.name:
            known = self.affected_since if self.barrier is None else self.barrier.since
            self.barrier = Barrier(since=min(known, self.affected_since), until=until)
        self.affected_since = 0

    def hides(self, stamp: int, transaction: int | None, created_at: str) -> bool:
        """Return whether the barrier, if there is one, hides a row."""
        return self.barrier is not None and self.barrier.hides(stamp, transaction, created_at)

    def action_for(self, epoch: str, offset: int, *, is_complete: bool) -> Action:
        """
        Return the action for a notification with this position.

        The next one is forwarded if its frame may be sent as it is, which ``is_complete`` says. An earlier
        one is dropped. After any other one the subscription catches up from the database.
        """
        if epoch == self.epoch and offset <= self.offset:
            return Action.DROP
        if epoch == self.epoch and offset == self.offset + 1 and is_complete:
            return Action.FORWARD
        return Action.CATCH_UP

    def lags(self, now: Position | None, before: Position | None) -> bool:
        """
        Return whether a row up to the head ``before`` hasn't arrived, or the epoch isn't that of ``now``.

        ``now`` is the stream's present head. Rows between the two heads may still be on their way. A head is
        None if the stream didn't exist.
        """
        if now is None or now.epoch != self.epoch:
            return True
        return before is not None and before.epoch == self.epoch and self.offset < before.offset
