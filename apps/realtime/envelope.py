"""Envelopes and notification frames: rows on the wire. The only place that knows their shape."""

import json
from datetime import datetime
from typing import Any

from ..outbox.announcers import event_of
from ..outbox.models import NotificationOutbox
from .conf import realtime_settings
from .exceptions import UnknownObjectTypeError
from .groups import parse_stream, stream_for
from .registry import object_type, owner_type


def envelope(row: NotificationOutbox, epoch: str) -> dict[str, Any]:
    """
    Return the channel-layer message of a numbered row.

    ``frame`` is the text for the sockets, encoded once for all of them; it is empty, a hint to read
    the database, if the text is too large for the layer. ``ends`` says that the object is gone.
    Raises UnknownObjectTypeError if the row can't be shown.
    """
    frame = notification_frame(row, epoch)
    return {
        "type": "notification",
        "stream": row.stream,
        "epoch": epoch,
        "offset": row.offset,
        "frame": frame if len(frame.encode()) <= realtime_settings().FRAME_BYTES else "",
        "ends": ends(row),
    }


def notification_frame(row: NotificationOutbox, epoch: str) -> str:
    """Return the frame of a numbered row, as JSON text. Raises UnknownObjectTypeError."""
    frame = _about(row, epoch)
    frame["id"] = object_type(row.object_type).public_id(row.object_id)
    frame |= {"type": row.event, "payload": row.payload, "at": timestamp(row.created_at)}
    return encode(frame)


def skipped_frame(row: NotificationOutbox, epoch: str) -> str:
    """Return the frame that stands in for a failed row, as JSON text. It never shows the payload."""
    frame = _about(row, epoch)
    try:
        frame["id"] = object_type(row.object_type).public_id(row.object_id)
    except UnknownObjectTypeError:
        # What can't be said of a row that failed, perhaps for that reason, is left empty.
        frame["id"] = ""
    return encode(frame | {"type": "skipped"})


def ends(row: NotificationOutbox) -> bool:
    """Whether the row announces the deletion of the object whose stream it is in."""
    own = stream_for(row.object_type, row.object_id)
    return row.stream == own and row.event == event_of("DELETE", row.object_type)


def encode(frame: dict[str, Any]) -> str:
    """Return a frame as compact JSON text."""
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))


def timestamp(moment: datetime) -> str:
    """Return an aware UTC time as protocol.md writes it: ``2026-11-22T10:00:00.123Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _about(row: NotificationOutbox, epoch: str) -> dict[str, Any]:
    frame: dict[str, Any] = {
        "type": "",
        "object_type": row.object_type,
        "id": "",
        "offset": row.offset,
        "epoch": epoch,
        "event_id": str(row.event_id),
    }
    name, pk = parse_stream(row.stream)
    if name != row.object_type:
        public = owner_type(name).public_id(pk)
        frame["subscription"] = {"object_type": name, "id": public}
    return frame
