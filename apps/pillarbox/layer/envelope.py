"""Envelopes and notification frames: rows on the wire. No other module knows their format."""

import json
from typing import Any

from ..conf import pillarbox_settings
from ..exceptions import UnknownObjectTypeError
from ..models import RIGHTS
from ..stream.rows import Row
from ..types.announcers import event_of
from ..types.groups import parse_stream, stream_for
from ..types.registry import object_type, owner_type

#: Encodes a value as compact JSON text.
encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

#: The keys, with their types, that sockets read from an envelope.
SHAPE: dict[str, Any] = {
    "stream": str,
    "epoch": str,
    "offset": int,
    "frame": str,
    "ends": bool,
    "is_move": bool,
    "at": str,
    "transaction": int | None,
    "stamp": int,
}


def envelope(row: Row) -> dict[str, Any]:
    """
    Return the channel-layer message of a row.

    Its keys, beside stream, epoch and offset:

    - ``frame``: the text for all sockets. It is empty if it is too large for the layer or not rendered
      yet; sockets then read the database.
    - ``ends``: True if the object was deleted.
    - ``is_move``: True if users who may see the object now may not see its earlier notifications.
    - ``at``: the time at which the row was written. ``transaction``: the transaction that wrote it.
    - ``stamp``: the offset of the last end of a right before it.

    The message of an end of a right is only a hint to read it. Raises UnknownObjectTypeError if the row's
    object type is not registered.
    """
    if row.stream == RIGHTS:
        return {"type": "end_of_right", "offset": row.offset}
    frame = _frame(row)
    return {
        "type": "notification",
        "stream": row.stream,
        "epoch": row.epoch,
        "offset": row.offset,
        "frame": frame if len(frame.encode()) <= pillarbox_settings().FRAME_BYTES else "",
        "ends": ends(row),
        "is_move": row.is_move and not ends(row),
        "at": row.created_at,
        "transaction": row.transaction,
        "stamp": row.stamp,
        "is_new": True,
    }


def is_ours(message: Any) -> bool:
    """Return whether a channel-layer message has our format. Other programs may write to Redis, too."""
    if not isinstance(message, dict):
        return False
    if message.get("type") == "notification":
        return all(isinstance(message.get(key), kind) for key, kind in SHAPE.items())
    return message.get("type") in ("behind", "probe")


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
    """Return the frame of a failed or obsolete row, as JSON text. It never contains the payload."""
    frame = _about(row, "skipped")
    try:
        frame["id"] = object_type(row.object_type).public_id(row.object_id)
    except UnknownObjectTypeError:
        # The unknown type may be why the row failed. It still needs a frame, so its id stays empty.
        frame["id"] = ""
    return encode(frame)


def ends(row: Row) -> bool:
    """Return whether the row announces, in an object's own stream, the object's deletion."""
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
