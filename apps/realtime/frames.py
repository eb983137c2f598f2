"""Control frames: what the server says that no row says."""

from datetime import UTC, datetime
from typing import Any

from ..outbox.conf import outbox_settings
from .commands import Ref
from .conf import realtime_settings
from .exceptions import CommandError
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
            "retention_seconds": outbox_settings().RETENTION_SECONDS,
        },
        "reconnect": {"min_ms": conf.RECONNECT_MIN_MS, "max_ms": conf.RECONNECT_MAX_MS},
    }


def subscribed(subscription: Subscription, ref: Ref) -> Frame:
    """The answer to ``subscribe``: where the subscription stands."""
    return {"type": "subscribed", **_ref(ref), **_position(subscription)}


def resynced(subscription: Subscription, payload: Any, reason: str) -> Frame:
    """Continuity is lost; this is the object now, and from here on all is complete again."""
    frame = {"type": "resynced", **_position(subscription), "reason": reason}
    return frame if payload is None else frame | {"payload": payload}


def unsubscribed(subject: dict[str, str], reason: str, ref: Ref = None) -> Frame:
    """The end of a subscription: asked for, or with a reason of the server's own."""
    frame = {"type": "unsubscribed", **_ref(ref), **subject, "reason": reason}
    return frame if reason == "requested" else frame | {"resubscribe": False}


def error(refusal: CommandError) -> Frame:
    """The answer to a command that is refused."""
    frame = {"type": "error", **_ref(refusal.ref), "code": refusal.code, "detail": refusal.detail}
    if refusal.errors is not None:
        frame["errors"] = refusal.errors
    return frame | {"temporary": refusal.temporary}


def pong(ref: Ref) -> Frame:
    """The answer to ``ping``."""
    return {"type": "pong", **_ref(ref)}


def _ref(ref: Ref) -> Frame:
    return {} if ref is None else {"ref": ref}


def _position(subscription: Subscription) -> Frame:
    return {**subscription.subject, "epoch": subscription.epoch, "offset": subscription.offset}


def _timestamp(moment: datetime) -> str:
    """Return an aware UTC time as protocol.md writes it: ``2026-11-22T10:00:00.123Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
