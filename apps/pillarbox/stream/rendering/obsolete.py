"""Obsolete rows: their object has moved since, so the readers of their stream must not see it."""

from collections.abc import Sequence
from typing import Any

from django.db import connections, models

from ...conditions import UNRENDERED
from ...models import OUTBOX, NotificationOutbox, shard_of
from ...types.announcers import Announcer, event_of
from ...types.live_models import move_attributes
from .results import Unrendered

# Rows that already have a payload are numbered before the rows that are rendered now, so they don't count.
OVERTAKEN = f"""
SELECT id FROM unnest(%(rows)s::bigint[], %(streams)s::text[], %(objects)s::text[]) AS shown (id, stream, key)
JOIN (
    SELECT stream AS name, object_id, max(id) AS last FROM {OUTBOX}
    WHERE shard = ANY(%(shards)s) AND {UNRENDERED.sql} AND (is_move OR event = %(creation)s)
    GROUP BY stream, object_id
) AS later ON name = stream AND object_id = key AND last > id
"""


def has_moved(announcer: Announcer, shown: models.Model, now: models.Model) -> bool:
    """Return whether a move field differs between the state that is shown and the current one."""
    was, current = vars(shown), vars(now)
    names = (name for name in move_attributes(announcer) if name in was)
    # NaN differs from itself, but not in its text.
    return any(
        was[name] != current[name] and repr(was[name]) != repr(current[name]) for name in names
    )


def overtaken(announcer: Announcer, rows: Sequence[Unrendered], using: str) -> set[Unrendered]:
    """
    Return the rows without image that are followed, in their stream, by a move or creation of their object.

    Their payload would show the current object. Readers before a move must not see the object in its new
    place, and before a creation there is no object. The later row shows the same state. The caller has
    already read the objects, so the rows of their creations are committed.
    """
    if not rows:
        return set()
    values: dict[str, Any] = {
        "rows": [row.pk for row in rows],
        "streams": [row.stream for row in rows],
        "objects": [row.object_id for row in rows],
        "shards": list({shard_of(row.stream) for row in rows}),
        "creation": event_of("CREATE", announcer.object_type),
    }
    with connections[using].cursor() as cursor:
        cursor.execute(OVERTAKEN, values)
        followed = {pk for (pk,) in cursor.fetchall()}
    return {row for row in rows if row.pk in followed}


def deleted_streams(announcer: Announcer, rows: Sequence[Unrendered], using: str) -> set[str]:
    """Return those of the rows' streams that have a DELETE, and so had an object of the type."""
    streams = {row.stream for row in rows}
    gone = NotificationOutbox.objects.using(using).filter(
        stream__in=streams, event=event_of("DELETE", announcer.object_type), is_everywhere=False
    )
    # Each part has an index.
    unnumbered = gone.filter(offset=None, shard__in=map(shard_of, streams))
    numbered = gone.filter(offset__isnull=False)
    return set(numbered.union(unnumbered).values_list("stream", flat=True)) if rows else set()
