"""Rows of the outbox for tests, inserted directly in the state that a test needs."""

from typing import Any

from django.utils import timezone

from pillarbox.models import RIGHTS, RIGHTS_SHARD, NotificationOutbox


def make(offset: int | None = None, **values: Any) -> NotificationOutbox:
    """Return a row, numbered or not, by default of shard 3 and the stream ``ticket:1``."""
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


def end(
    object_id: object = "1",
    object_type: str = RIGHTS,
    lookup: str = "",
    event: str = "DELETE_RIGHTS",
) -> NotificationOutbox:
    """Return an end of a right that has no offset yet."""
    return make(
        stream=RIGHTS,
        shard=RIGHTS_SHARD,
        event=event,
        object_type=object_type,
        object_id=str(object_id),
        lookup=lookup,
    )


def many_failed(rows: int) -> list[int]:
    """Return the primary keys of ``count`` failed rows of the stream ``thing:1``, an unregistered type."""
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
