"""One socket's interest in one stream, and where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

from ..outbox.history import Position
from .groups import group_for, stream_for
from .registry import OWN


class Verdict(Enum):
    """What to do with a notification that arrives."""

    FORWARD = auto()
    DROP = auto()
    CATCH_UP = auto()


@dataclass(kw_only=True, slots=True)
class Subscription:
    """Keeps one position: that of the last notification its socket was sent."""

    object_type: str
    id: str
    pk: Any
    epoch: str = ""
    offset: int = 0
    #: Since when the object is known to be no more, though its deletion hasn't come.
    gone_since: float | None = None
    #: Of a collection that is being shown: what the next page answers to, and the key it goes on after.
    next_page: "tuple[dict[str, Any], Any] | None" = None

    @classmethod
    def of(cls, user: Any, values: Mapping[str, Any]) -> Self:
        """Return the subscription that a user's valid command is about; ``me`` is that user."""
        pk = user.pk if values["object_type"] == OWN.name else values["pk"]
        return cls(object_type=values["object_type"], id=values["id"], pk=pk)

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

    @property
    def position(self) -> Position:
        return Position(epoch=self.epoch, offset=self.offset)

    def move_to(self, position: Position) -> None:
        """Stand there from now on."""
        self.epoch, self.offset = position.epoch, position.offset

    def judge(self, epoch: str, offset: int, *, is_complete: bool) -> Verdict:
        """
        Say what to do with a notification of this position; ``is_complete`` says that it may be forwarded.

        The next one is forwarded, an earlier one dropped; anything else is a gap, and the database
        knows what is in it.
        """
        if epoch == self.epoch and offset <= self.offset:
            return Verdict.DROP
        if epoch == self.epoch and offset == self.offset + 1 and is_complete:
            return Verdict.FORWARD
        return Verdict.CATCH_UP

    def lags(self, now: Position | None, before: Position | None) -> bool:
        """
        Whether something that was there ``before`` has not arrived; ``now`` is where the stream stands.

        What came in between may still be on its way. None stands for a stream that there wasn't.
        """
        if now is None or now.epoch != self.epoch:
            return True
        return before is not None and before.epoch == self.epoch and self.offset < before.offset
