"""The statement that announces rows again: it writes new rows, and records them on the failed ones."""

from collections.abc import Sequence

from django.db import connections

from ..models import OUTBOX, Replay
from .eligibility import Eligibility

# A new row without payload gets rendered: from its image if it is as recorded, else from the object.
# The new rows' primary keys follow the order of the old ones. In a resend all rows of one change share a
# new event id.
ANNOUNCE = f"""
WITH chosen AS MATERIALIZED (
    SELECT pk, event, event IS NULL AS is_recorded,
        nextval(pg_get_serial_sequence('{OUTBOX}', 'id')) AS new
    FROM (
        SELECT * FROM unnest(%(pks)s::bigint[], %(events)s::text[]) AS given (pk, event) ORDER BY pk
    ) AS ordered
), announced AS (
    INSERT INTO {OUTBOX}
        (id, stream, shard, event_id, event, object_type, object_id, is_move, is_everywhere, lookup,
        left_streams, payload, image, repeats)
    SELECT new, stream, shard,
        CASE WHEN %(resend)s::uuid IS NULL THEN event_id ELSE md5(%(resend)s || event_id::text)::uuid END,
        coalesce(chosen.event, row.event), object_type, object_id, is_move,
        is_recorded AND is_everywhere, CASE WHEN is_recorded THEN lookup ELSE '' END,
        CASE WHEN is_recorded AND is_everywhere THEN left_streams END,
        CASE WHEN is_recorded THEN row.payload END, CASE WHEN is_recorded THEN image END,
        CASE WHEN is_recorded THEN coalesce(repeats, row.id) END
    FROM chosen JOIN {OUTBOX} AS row ON row.id = pk AND row.id = ANY(%(pks)s) ORDER BY new
)
UPDATE {OUTBOX} AS row
SET replayed_at = statement_timestamp(), replayed_by_id = %(by)s, replayed_as_id = new, image = NULL
FROM chosen WHERE row.id = pk AND row.id = ANY(%(pks)s) AND %(resend)s::uuid IS NULL
"""


def announce_again(replay: Replay, chosen: Sequence[Eligibility], *, using: str) -> None:
    """Write a new row for each of the chosen ones, in their order. The caller has locked them."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            ANNOUNCE,
            {
                "pks": [each.pk for each in chosen],
                "events": [each.event for each in chosen],
                "resend": str(replay.pk) if replay.is_resend else None,
                "by": replay.by_id,
            },
        )
