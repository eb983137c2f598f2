"""Where a client's subscription stands, and what the server's frames mean for it. Knows no Django."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Frame = Mapping[str, Any]


class FrameError(Exception):
    """The server sent what the protocol doesn't have. The socket is ended; the next one resumes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """An offset, and the incarnation of the stream in which it means something."""

    epoch: str
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Notification:
    """What happened. Its position may be kept, and resumed from by another process."""

    event: str
    payload: Any
    object_type: str
    id: str
    event_id: str
    at: str
    position: Position
    #: Whether it was missed, and comes late.
    catching_up: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """What happened there could not be published."""

    event_id: str
    position: Position


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscribed:
    """The server follows, on a new socket: all that comes after the position will come."""

    position: Position
    #: Whether what a resumed subscription missed comes now; None if it is new.
    recovered: bool | None = None
    #: How many that are: the next so many `Notification` and `Skipped`. Then it has caught up.
    missed: int = 0
    #: The object as it is now, if it was asked for.
    payload: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Resynced:
    """
    What was missed can't be told any more. All is complete again from the position.

    The reason is the server's, or ``unrecoverable`` where a position could not be resumed from.
    """

    position: Position
    reason: str
    payload: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A page of a collection's objects as they are now. Begun again if its socket breaks."""

    items: list[Any]
    is_last: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsubscribed:
    """The last word: ``deleted``, ``revoked``, or the code with which the server refuses to resume."""

    reason: str


Word = Notification | Skipped | Subscribed | Resynced | Snapshot | Unsubscribed


class Standing:
    """One subscription's position across sockets. Takes frames as they come; lets no offset by twice."""

    def __init__(self, since: Position | None, *, wants_snapshot: bool) -> None:
        self.position = since
        #: The offset up to which what comes was missed.
        self._missed_to = 0
        #: Whether the present state is still owed, or the rest of it.
        self.awaits_present = wants_snapshot
        #: Whether the socket of now has answered.
        self.is_open = False
        #: Notifications that came again, and were dropped.
        self.repeats = 0

    def wish(self) -> dict[str, Any]:
        """Return what a subscribing command says of it."""
        wish: dict[str, Any] = {"snapshot": True} if self.awaits_present else {}
        if self.position is not None:
            wish["since"] = {"epoch": self.position.epoch, "offset": self.position.offset}
        return wish

    def take(self, frame: Frame) -> Word | None:
        """Return what a frame says; None if that is nothing new. Raises FrameError if it makes no sense."""
        try:
            return self._take(frame)
        except (KeyError, TypeError, ValueError) as error:
            raise FrameError(f"Expected a frame of the protocol, got {frame!r}.") from error

    def _take(self, frame: Frame) -> Word | None:
        kind = frame["type"]
        if kind == "subscribed":
            return self._begin(frame)
        if not self.is_open:
            return None
        if kind == "snapshot":
            self.awaits_present = not frame["done"]
            return Snapshot(items=frame["items"], is_last=frame["done"])
        if kind == "resynced":
            return self._resync(frame, frame["reason"])
        if kind == "skipped" or kind.isupper():
            return self._advance(frame)
        return None

    def _begin(self, frame: Frame) -> Word:
        position, payload, since = _position(frame), frame.get("payload"), self.position
        self.is_open = True
        if since is not None and (since != position or frame.get("recovered") is not True):
            return self._resync(frame, "unrecoverable")
        missed = _missed(frame)
        self.position, self._missed_to = position, position.offset + missed
        # A collection's objects come in pages behind it.
        self.awaits_present = self.awaits_present and payload is None
        recovered = None if since is None else True
        return Subscribed(position=position, recovered=recovered, missed=missed, payload=payload)

    def _resync(self, frame: Frame, reason: str) -> Resynced:
        self.position, payload = _position(frame), frame.get("payload")
        self._missed_to = self.position.offset
        self.awaits_present = payload is None
        return Resynced(position=self.position, reason=reason, payload=payload)

    def _advance(self, frame: Frame) -> Word | None:
        position = _position(frame)
        assert self.position is not None
        if position.epoch == self.position.epoch and position.offset <= self.position.offset:
            self.repeats += 1
            return None
        if position != Position(epoch=self.position.epoch, offset=self.position.offset + 1):
            raise FrameError(f"Expected what comes after {self.position}, got {position}.")
        if frame["type"] == "skipped":
            word: Word = Skipped(event_id=frame["event_id"], position=position)
        else:
            word = _notification(frame, position, catching_up=position.offset <= self._missed_to)
        self.position = position
        return word


def _notification(frame: Frame, position: Position, *, catching_up: bool) -> Notification:
    return Notification(
        event=frame["type"],
        payload=frame["payload"],
        object_type=frame["object_type"],
        id=frame["id"],
        event_id=frame["event_id"],
        at=frame["at"],
        position=position,
        catching_up=catching_up,
    )


def _position(frame: Frame) -> Position:
    epoch, offset = frame["epoch"], frame["offset"]
    if not isinstance(epoch, str) or type(offset) is not int:
        raise ValueError(frame)
    return Position(epoch=epoch, offset=offset)


def _missed(frame: Frame) -> int:
    missed = frame.get("missed", 0)
    if type(missed) is not int or missed < 0:
        raise ValueError(frame)
    return missed
