"""Capture: what a committed change announces is written in the transaction that changes it."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from .bell import ring_on_commit
from .models import NotificationOutbox, shard_of
from .payload import plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Notification:
    """What one change announces on one stream."""

    #: Name of the stream.
    stream: str
    #: What happened: ``UPDATE_TICKET``.
    event: str
    #: Type and primary key of the object it happened to.
    object_type: str
    object_id: str
    #: What subscribers see.
    payload: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcer:
    """How a model's changes become notifications. The live half makes one for each live model."""

    object_type: str
    #: Attributes that decide in which streams an object is announced.
    deciding: frozenset[str]
    #: Names of the many-to-many fields whose changes are announced.
    many_to_many: tuple[str, ...]
    #: Names of the streams in which an object, as it is in the database, is announced.
    streams: Callable[[Any], list[str]]
    #: What subscribers see of an object.
    payload: Callable[[Any], Mapping[str, Any]]
    #: What subscribers see of a primary key whose object is gone.
    tombstone: Callable[[Any], Mapping[str, Any]]

    def event(self, verb: str) -> str:
        """Return the name of an event of this type: ``UPDATE_TICKET``."""
        return f"{verb}_{self.object_type}".upper().replace(".", "_").replace("-", "_")


def capture(notifications: Iterable[Notification], *, using: str) -> list[NotificationOutbox]:
    """
    Write notifications of one change into the outbox of ``using``, in the open transaction.

    They share an ``event_id``. Raises PayloadError, before any SQL, if a payload can't be stored.
    """
    event_id = uuid.uuid4()
    rows = [
        NotificationOutbox(
            stream=notification.stream,
            shard=shard_of(notification.stream),
            event_id=event_id,
            event=notification.event,
            object_type=notification.object_type,
            object_id=notification.object_id,
            payload=plain(notification.payload, notification.object_type),
        )
        for notification in notifications
    ]
    if not rows:
        return rows
    with transaction.atomic(using=using, savepoint=False):
        NotificationOutbox.objects.using(using).bulk_create(rows)
        ring_on_commit(using)
    return rows


def capture_change(
    announcer: Announcer,
    pk: Any,
    *,
    before: Iterable[str],
    after: Iterable[str],
    payload: Mapping[str, Any] | None,
    using: str,
) -> None:
    """
    Capture a change of one object that was announced in the streams ``before`` and is in ``after``.

    A stream in both gets an UPDATE, one it entered a CREATE, one it left a DELETE with the id and
    nothing else: the new content is not for those who read there.
    """
    left, entered = set(before), set(after)
    tombstone = announcer.tombstone(pk)

    def notification(stream: str) -> Notification:
        verb = "UPDATE" if stream in left & entered else "CREATE" if stream in entered else "DELETE"
        return Notification(
            stream=stream,
            event=announcer.event(verb),
            object_type=announcer.object_type,
            object_id=str(pk),
            payload=tombstone if payload is None or verb == "DELETE" else payload,
        )

    capture((notification(stream) for stream in sorted(left | entered)), using=using)
