"""Control frames: the frames that the server sends without an outbox row."""

import math
from datetime import UTC, datetime
from typing import Any

from ..conf import pillarbox_settings
from ..exceptions import ClientCommandError
from .commands.parsing import Ref
from .reasons import EndReason, ResyncReason
from .subscriptions.starts import Start
from .subscriptions.subscription import Subscription

PROTOCOL = 1

Frame = dict[str, Any]


def hello(username: str) -> Frame:
    """Return the first frame: the authenticated user, and the server's limits and intervals."""
    conf = pillarbox_settings()
    return {
        "type": "hello",
        "protocol": PROTOCOL,
        "user": username,
        "server_time": _timestamp(datetime.now(UTC)),
        "limits": {
            "subscriptions": conf.SUBSCRIPTIONS,
            "command_bytes": conf.COMMAND_BYTES,
            "commands_per_second": conf.COMMANDS_PER_SECOND,
            "retention_seconds": pillarbox_settings().RETENTION_SECONDS,
        },
        "heartbeat_seconds": conf.HEARTBEAT_SECONDS,
        "reconnect": {"min_ms": conf.RECONNECT_MIN_MS, "max_ms": conf.RECONNECT_MAX_MS},
    }


def subscribed(answered: Frame, subscription: Subscription, start: Start) -> Frame:
    """Return the answer to a subscribe request: the position, the result of a resume, and the payload."""
    frame = {"type": "subscribed", **answered, **_position(subscription)}
    if start.recovered is not None:
        frame["recovered"] = start.recovered
    if start.recovered:
        frame["missed"] = start.missed
    return frame if start.payload is None else frame | {"payload": start.payload}


def snapshot(answered: Frame, subscription: Subscription, items: list[Any], is_last: bool) -> Frame:
    """Return a frame with a page of a collection's objects in their present state."""
    frame = {"type": "snapshot", **answered, **subscription.subject}
    return frame | {"items": items, "done": is_last}


def resynced(subscription: Subscription, payload: Any, reason: ResyncReason) -> Frame:
    """Return a resync: continuity is lost, and the client continues from this position and payload."""
    frame = {"type": "resynced", **_position(subscription), "reason": reason}
    return frame if payload is None else frame | {"payload": payload}


def unsubscribed(subject: dict[str, str], reason: EndReason, ref: Ref = None) -> Frame:
    """Return the end of a subscription: ``requested`` by the client, or for the server's own reason."""
    frame = {"type": "unsubscribed", **answer(ref), **subject, "reason": reason}
    return frame if reason is EndReason.REQUESTED else frame | {"resubscribe": False}


def error(refusal: ClientCommandError, answered: Frame) -> Frame:
    """Return the answer to a refused command."""
    frame = {"type": "error", **answered, "code": refusal.code, "detail": refusal.detail}
    if refusal.errors is not None:
        frame["errors"] = refusal.errors
    if refusal.retry_after is not None:
        frame["retry_after_ms"] = math.ceil(refusal.retry_after * 1000)
    return frame | {"temporary": refusal.temporary}


def ping() -> Frame:
    """Return the server's heartbeat. A page's script can't see WebSocket pings, so it needs a frame."""
    return {"type": "ping"}


def pong(ref: Ref) -> Frame:
    """Return the answer to ``ping``."""
    return {"type": "pong", **answer(ref)}


def answer(ref: Ref, index: int | None = None) -> Frame:
    """Return the fields that link an answer to its command and, in a list, to its entry."""
    numbered = {} if index is None else {"index": index}
    return numbered if ref is None else {"ref": ref, **numbered}


def _position(subscription: Subscription) -> Frame:
    return {**subscription.subject, "epoch": subscription.epoch, "offset": subscription.offset}


def _timestamp(moment: datetime) -> str:
    """Return an aware UTC time in the protocol's format: ``2026-11-22T10:00:00.123Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
