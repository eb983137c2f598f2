"""Rows of the outbox as tests need them: made at once in the condition that matters."""

from typing import Any

from apps.outbox.models import NotificationOutbox


def make(offset: int | None = None, **values: Any) -> NotificationOutbox:
    """Return a row, numbered or not, of shard 3 and the stream ``ticket:1`` unless told otherwise."""
    made = NotificationOutbox.objects.create(
        **{
            "stream": "ticket:1",
            "shard": 3,
            "event": "X",
            "object_type": "ticket",
            "object_id": "1",
            "payload": {},
            "offset": offset,
            **values,
        }
    )
    return NotificationOutbox.objects.get(pk=made.pk)
