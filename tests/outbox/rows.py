"""Rows of the outbox as tests need them: made at once in the condition that matters."""

from typing import Any

from django.utils import timezone

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


def many_failed(rows: int) -> list[int]:
    """Return the primary keys of so many failed rows of the stream ``thing:1``, about nothing registered."""
    made = NotificationOutbox.objects.bulk_create(
        NotificationOutbox(
            stream="thing:1",
            shard=3,
            offset=n + 1,
            object_type="thing",
            object_id=str(n),
            event="X",
            payload={},
            failed_at=timezone.now(),
            error_type="E",
        )
        for n in range(rows)
    )
    return [row.pk for row in made]
