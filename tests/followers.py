"""What a client keeps that resumes: what it was sent, by subscription, and where it stands in each."""

from collections.abc import Mapping, Sequence
from typing import Any

from apps.outbox.models import NotificationOutbox

#: What the server says that is no part of a subscription.
SIGNS_OF_LIFE = {"hello", "ping", "pong"}


class Follower:
    """
    Follows subjects across sockets, each subscription from where the last socket left it.

    Whatever isn't the next offset fails at once; so does a position that can't be resumed from.
    """

    def __init__(self, *subjects: Mapping[str, str]) -> None:
        self.subjects = subjects
        self.positions: dict[str, dict[str, Any]] = {}
        #: Where each began.
        self.began: dict[str, int] = {}
        self.frames: dict[str, list[dict[str, Any]]] = {name_of(it): [] for it in subjects}
        #: The server's frames that end a subscription.
        self.words: list[dict[str, Any]] = []

    def wishes(self) -> Sequence[dict[str, Any]]:
        """Return what to subscribe to, and since when."""
        return [
            {**subject, "since": self.positions[name_of(subject)]}
            if name_of(subject) in self.positions
            else {**subject}
            for subject in self.subjects
        ]

    def hear(self, frame: dict[str, Any]) -> None:
        """Take what comes."""
        if frame["type"] in SIGNS_OF_LIFE:
            return
        if frame["type"] == "subscribed":
            self._begin(frame)
        elif "event_id" in frame:
            self._keep(frame)
        else:
            assert frame["type"] == "unsubscribed", frame
            self.words.append(frame)
            del self.positions[name_of(frame)]  # nothing of it may come any more

    def stands_at(self, heads: Mapping[str, int]) -> bool:
        """Whether it has all that there is."""
        return heads == {name: position["offset"] for name, position in self.positions.items()}

    def since(self, began: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
        """Return its frames, by subscription, that came after these offsets."""
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
    """Return a subject's name in a follower's books."""
    return f"{about['object_type']} {about['id']}"


def announced(stream: str, after: int) -> list[tuple[Any, ...]]:
    """Return what the database has of a stream after an offset, as `shown` has frames."""
    rows = NotificationOutbox.objects.filter(stream=stream, offset__gt=after).order_by("offset")
    return [
        (row.offset, str(row.event_id), "skipped", None)
        if row.failed_at
        else (row.offset, str(row.event_id), row.event, row.payload)
        for row in rows
    ]


def shown(frames: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what the frames of a subscription say that rows say, too."""
    return [
        (frame["offset"], frame["event_id"], frame["type"], frame.get("payload"))
        for frame in frames
    ]


def _position(frame: Mapping[str, Any]) -> dict[str, Any]:
    return {"epoch": frame["epoch"], "offset": frame["offset"]}
