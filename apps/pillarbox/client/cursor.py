"""The client's cursor: a subscription's position across sockets. Independent of Django."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Frame = Mapping[str, Any]


class FrameError(Exception):
    """A frame that breaks the protocol. The client ends the socket and resumes on the next one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """An offset, and the epoch of the stream that it belongs to."""

    epoch: str
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Notification:
    """One notification. The caller may store its position, and another process may resume from it."""

    event: str
    payload: Any
    object_type: str
    id: str
    event_id: str
    at: str
    position: Position
    #: True if the client missed it and receives it late, in a catch-up.
    catching_up: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """The place of a notification that failed or became obsolete: it has an offset and no payload."""

    event_id: str
    position: Position


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscribed:
    """The server's confirmation, on each new socket: everything after the position will arrive."""

    position: Position
    #: True if the subscription resumed, and what it missed follows; None if it is new.
    recovered: bool | None = None
    #: The number of `Notification` and `Skipped` that follow until the subscription has caught up.
    missed: int = 0
    #: The object's present state, if the caller requested it.
    payload: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Resynced:
    """
    A loss of continuity: the server can't send what was missed. From the position on all is complete.

    The reason is the server's, or ``unrecoverable`` if the server could not resume from the position.
    """

    position: Position
    reason: str
    payload: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A page of a collection's objects in their present state. If the socket breaks, all pages come again."""

    items: list[Any]
    is_last: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsubscribed:
    """The last item. The reason is ``deleted``, ``revoked``, or the error code of a refused resume."""

    reason: str


Item = Notification | Skipped | Subscribed | Resynced | Snapshot | Unsubscribed


class Cursor:
    """One subscription's position across sockets. Turns frames into items; yields each offset once."""

    def __init__(self, since: Position | None, *, wants_snapshot: bool) -> None:
        self.position = since
        #: The offset at which the catch-up ends.
        self._missed_to = 0
        #: True until the whole present state has arrived, if it was requested.
        self.awaits_present = wants_snapshot
        #: True once the server has confirmed the subscription on the current socket.
        self.is_open = False
        #: The number of notifications dropped because their offset had already passed.
        self.repeats = 0

    def request(self) -> dict[str, Any]:
        """Return the fields with which a subscribe request continues from here."""
        request: dict[str, Any] = {"snapshot": True} if self.awaits_present else {}
        if self.position is not None:
            request["since"] = {"epoch": self.position.epoch, "offset": self.position.offset}
        return request

    def take(self, frame: Frame) -> Item | None:
        """Return the item in a frame; None if there is nothing new. Raises FrameError if it is invalid."""
        try:
            return self._take(frame)
        except (KeyError, TypeError, ValueError) as error:
            raise FrameError(f"Expected a frame of the protocol, got {frame!r}.") from error

    def _take(self, frame: Frame) -> Item | None:
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

    def _begin(self, frame: Frame) -> Item:
        position, payload, since = _position(frame), frame.get("payload"), self.position
        self.is_open = True
        if since is not None and (since != position or frame.get("recovered") is not True):
            return self._resync(frame, "unrecoverable")
        missed = _missed(frame)
        self.position, self._missed_to = position, position.offset + missed
        # A collection has no payload: its objects follow in pages.
        self.awaits_present = self.awaits_present and payload is None
        recovered = None if since is None else True
        return Subscribed(position=position, recovered=recovered, missed=missed, payload=payload)

    def _resync(self, frame: Frame, reason: str) -> Resynced:
        self.position, payload = _position(frame), frame.get("payload")
        self._missed_to = self.position.offset
        self.awaits_present = payload is None
        return Resynced(position=self.position, reason=reason, payload=payload)

    def _advance(self, frame: Frame) -> Item | None:
        position = _position(frame)
        assert self.position is not None
        if position.epoch == self.position.epoch and position.offset <= self.position.offset:
            self.repeats += 1
            return None
        if position != Position(epoch=self.position.epoch, offset=self.position.offset + 1):
            raise FrameError(f"Expected the offset after {self.position}, got {position}.")
        if frame["type"] == "skipped":
            item: Item = Skipped(event_id=frame["event_id"], position=position)
        else:
            item = _notification(frame, position, catching_up=position.offset <= self._missed_to)
        self.position = position
        return item


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
