"""Envelopes and notification frames: rows on the wire. The only place that knows their shape."""

import json
from typing import Any

from ..outbox.announcers import event_of
from ..outbox.rows import Row
from .conf import realtime_settings
from .exceptions import UnknownObjectTypeError
from .groups import parse_stream, stream_for
from .registry import object_type, owner_type

#: Returns compact JSON text.
encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def envelope(row: Row) -> dict[str, Any]:
    """
    Return the channel-layer message of a row.

    ``frame`` is the text for the sockets, encoded once for all of them; it is empty, a hint to read
    the database, if the text is too large for the layer. ``ends`` says that the object is gone,
    ``is_move`` that what was announced before is perhaps not for those who may see it now; ``at`` is when
    the row was written.
    Raises UnknownObjectTypeError if the row can't be shown.
    """
    frame = _frame(row)
    return {
        "type": "notification",
        "stream": row.stream,
        "epoch": row.epoch,
        "offset": row.offset,
        "frame": frame if len(frame.encode()) <= realtime_settings().FRAME_BYTES else "",
        "ends": ends(row),
        "is_move": row.is_move,
        "at": row.created_at,
    }


def _frame(row: Row) -> str:
    if row.is_skipped:
        return skipped_frame(row)
    return "" if row.payload is None else notification_frame(row)


def notification_frame(row: Row) -> str:
    """Return the frame of a row whose payload is loaded, as JSON text. Raises UnknownObjectTypeError."""
    frame = _about(row, row.event)
    frame["id"] = object_type(row.object_type).public_id(row.object_id)
    frame["at"] = row.created_at
    # The payload is JSON text already, and the largest part.
    return f'{encode(frame)[:-1]},"payload":{row.payload}}}'


def skipped_frame(row: Row) -> str:
    """Return the frame of a failed or obsolete row, as JSON text. It never shows the payload."""
    frame = _about(row, "skipped")
    try:
        frame["id"] = object_type(row.object_type).public_id(row.object_id)
    except UnknownObjectTypeError:
        # What can't be said of a row that failed, perhaps for that reason, is left empty.
        frame["id"] = ""
    return encode(frame)


def ends(row: Row) -> bool:
    """Whether the row announces the deletion of the object whose stream it is in."""
    own = stream_for(row.object_type, row.object_id)
    return row.stream == own and row.event == event_of("DELETE", row.object_type)


def _about(row: Row, kind: str) -> dict[str, Any]:
    frame: dict[str, Any] = {
        "type": kind,
        "object_type": row.object_type,
        "id": "",
        "offset": row.offset,
        "epoch": row.epoch,
        "event_id": row.event_id,
    }
    name, pk = parse_stream(row.stream)
    if name != row.object_type:
        public = owner_type(name).public_id(pk)
        frame["subscription"] = {"object_type": name, "id": public}
    return frame
