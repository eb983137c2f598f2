"""The state of a client that resumes: by subscription, the frames it received and its position."""

from collections.abc import Mapping, Sequence
from typing import Any

from pillarbox.models import NotificationOutbox

#: The types of frames that belong to no subscription.
SOCKET_FRAMES = {"hello", "ping", "pong"}


class Follower:
    """
    A client's state across sockets: each subscription resumes at its position on the last socket.

    Raises AssertionError at once if an offset isn't the next one, or if a position can't be resumed from.
    """

    def __init__(self, *subjects: Mapping[str, str]) -> None:
        self.subjects = subjects
        self.positions: dict[str, dict[str, Any]] = {}
        #: The offset at which each subscription began.
        self.began: dict[str, int] = {}
        self.frames: dict[str, list[dict[str, Any]]] = {name_of(it): [] for it in subjects}
        #: The server's frames that end a subscription.
        self.ended: list[dict[str, Any]] = []

    def requests(self) -> Sequence[dict[str, Any]]:
        """Return the subscribe requests, each with the position to resume from."""
        return [
            {**subject, "since": self.positions[name_of(subject)]}
            if name_of(subject) in self.positions
            else {**subject}
            for subject in self.subjects
        ]

    def receive(self, frame: dict[str, Any]) -> None:
        """Check and keep a frame that the server sent."""
        if frame["type"] in SOCKET_FRAMES:
            return
        if frame["type"] == "subscribed":
            self._begin(frame)
        elif "event_id" in frame:
            self._keep(frame)
        else:
            assert frame["type"] == "unsubscribed", frame
            self.ended.append(frame)
            del self.positions[name_of(frame)]  # any later frame of this subscription fails

    def is_at(self, heads: Mapping[str, int]) -> bool:
        """Whether each subscription's position is at the stream's head."""
        return heads == {name: position["offset"] for name, position in self.positions.items()}

    def since(self, began: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
        """Return the frames after these offsets, by subscription."""
        return {
            name: [frame for frame in frames if frame["offset"] > began[name]]
            for name, frames in self.frames.items()
        }

    def _begin(self, frame: dict[str, Any]) -> None:
        name, position = name_of(frame), _position(frame)
        known = self.positions.setdefault(name, position)
        self.began.setdefault(name, position["offset"])
        assert (True, known) == (frame.get("recovered", True), position), frame

    def _keep(self, frame: dict[str, Any]) -> None:
        name = name_of(frame.get("subscription", frame))
        expected = {**self.positions[name], "offset": self.positions[name]["offset"] + 1}
        assert expected == _position(frame), frame
        self.positions[name] = expected
        self.frames[name].append(frame)


def name_of(about: Mapping[str, Any]) -> str:
    """Return the key of a subscription in a follower's dictionaries."""
    return f"{about['object_type']} {about['id']}"


def announced(stream: str, after: int) -> list[tuple[Any, ...]]:
    """Return the rows of a stream after an offset, in the same form as `shown` returns frames."""
    rows = NotificationOutbox.objects.filter(stream=stream, offset__gt=after).order_by("offset")
    return [
        (row.offset, str(row.event_id), "skipped", None)
        if row.failed_at or row.obsolete_at
        else (row.offset, str(row.event_id), row.event, row.payload)
        for row in rows
    ]


def shown(frames: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return those fields of a subscription's frames that rows have, too."""
    return [
        (frame["offset"], frame["event_id"], frame["type"], frame.get("payload"))
        for frame in frames
    ]


def _position(frame: Mapping[str, Any]) -> dict[str, Any]:
    return {"epoch": frame["epoch"], "offset": frame["offset"]}
