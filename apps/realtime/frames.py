"""Control frames: what the server says that no row says."""

import math
from datetime import UTC, datetime
from typing import Any

from ..outbox.conf import outbox_settings
from .commands import Ref
from .conf import realtime_settings
from .exceptions import CommandError
from .resume import Opened
from .subscriptions import Subscription

PROTOCOL = 1

Frame = dict[str, Any]


def hello(username: str) -> Frame:
    """The first frame: who the server takes the client for, and what it allows."""
    conf = realtime_settings()
    return {
        "type": "hello",
        "protocol": PROTOCOL,
        "user": username,
        "server_time": _timestamp(datetime.now(UTC)),
        "limits": {
            "subscriptions": conf.SUBSCRIPTIONS,
            "command_bytes": conf.COMMAND_BYTES,
            "commands_per_second": conf.COMMANDS_PER_SECOND,
            "retention_seconds": outbox_settings().RETENTION_SECONDS,
        },
        "heartbeat_seconds": conf.HEARTBEAT_SECONDS,
        "reconnect": {"min_ms": conf.RECONNECT_MIN_MS, "max_ms": conf.RECONNECT_MAX_MS},
    }


def subscribed(answered: Frame, subscription: Subscription, opened: Opened) -> Frame:
    """The answer to ``subscribe``: where the subscription stands, and what is so far known."""
    frame = {"type": "subscribed", **answered, **_position(subscription)}
    if opened.recovered is not None:
        frame["recovered"] = opened.recovered
    if opened.recovered:
        frame["missed"] = opened.missed
    return frame if opened.payload is None else frame | {"payload": opened.payload}


def snapshot(answered: Frame, subscription: Subscription, items: list[Any], is_last: bool) -> Frame:
    """A page of a collection's objects, as they are now."""
    frame = {"type": "snapshot", **answered, **subscription.subject}
    return frame | {"items": items, "done": is_last}


def resynced(subscription: Subscription, payload: Any, reason: str) -> Frame:
    """Continuity is lost; this is the object now, and from here on all is complete again."""
    frame = {"type": "resynced", **_position(subscription), "reason": reason}
    return frame if payload is None else frame | {"payload": payload}


def unsubscribed(subject: dict[str, str], reason: str, ref: Ref = None) -> Frame:
    """The end of a subscription: asked for, or with a reason of the server's own."""
    frame = {"type": "unsubscribed", **answer(ref), **subject, "reason": reason}
    return frame if reason == "requested" else frame | {"resubscribe": False}


def error(refusal: CommandError, answered: Frame) -> Frame:
    """The answer to a command that is refused."""
    frame = {"type": "error", **answered, "code": refusal.code, "detail": refusal.detail}
    if refusal.errors is not None:
        frame["errors"] = refusal.errors
    if refusal.retry_after is not None:
        frame["retry_after_ms"] = math.ceil(refusal.retry_after * 1000)
    return frame | {"temporary": refusal.temporary}


def ping() -> Frame:
    """The server's heartbeat: a browser's page sees no other sign of life."""
    return {"type": "ping"}


def pong(ref: Ref) -> Frame:
    """The answer to ``ping``."""
    return {"type": "pong", **answer(ref)}


def answer(ref: Ref, index: int | None = None) -> Frame:
    """Return what in an answer says to what it is one."""
    numbered = {} if index is None else {"index": index}
    return numbered if ref is None else {"ref": ref, **numbered}


def _position(subscription: Subscription) -> Frame:
    return {**subscription.subject, "epoch": subscription.epoch, "offset": subscription.offset}


def _timestamp(moment: datetime) -> str:
    """Return an aware UTC time as protocol.md writes it: ``2026-11-22T10:00:00.123Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
