"""Notifications that are written by code, not by a trigger: announcements, and ends of rights."""

import uuid
from dataclasses import dataclass, field

from django.db import connections, transaction

from ..logs import get_logger
from ..models import OUTBOX, shard_of
from .traces import new_event_id
from .wake_ups import wake_up_on_commit

logger = get_logger(__name__)

INSERT = f"""
INSERT INTO {OUTBOX}
    (stream, shard, event_id, event, object_type, object_id, payload)
VALUES (%s, %s, %s, %s, %s, %s, %s::jsonb)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notification:
    """A notification on one stream, before it is captured."""

    #: Name of the stream.
    stream: str
    #: Name of the event: ``EXPORT_DONE``.
    event: str
    #: Type and primary key of the object that the event concerns.
    object_type: str
    object_id: str
    #: JSON text.
    payload: str
    #: The same for all notifications of one event.
    event_id: uuid.UUID = field(default_factory=new_event_id)


def capture(notification: Notification, *, using: str) -> None:
    """Write a notification into the outbox, in the open transaction or a new one, and wake up on commit."""
    n = notification
    row = n.stream, shard_of(n.stream), n.event_id, n.event, n.object_type, n.object_id, n.payload
    with transaction.atomic(using=using, savepoint=False), connections[using].cursor() as cursor:
        cursor.execute(INSERT, row)
        wake_up_on_commit(using)
    extra = {"action": "captured", "event_id": n.event_id, "stream": n.stream}
    logger.debug("Captured, pending commit", extra=extra)
