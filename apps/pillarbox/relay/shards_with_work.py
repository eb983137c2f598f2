"""The shards with work for the relay."""

import random

from django.db import connections

from ..conditions import PUBLISHABLE, UNRENDERED
from ..models import OUTBOX, SHARDS

WORK = f"""
SELECT shard,
    EXISTS (
        SELECT FROM {OUTBOX} AS row
        WHERE row.shard = each.shard AND "offset" IS NULL AND NOT ({UNRENDERED.sql})
    )
    OR EXISTS (
        SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PUBLISHABLE.sql} AND claims = 0
        AND stream NOT IN (
            SELECT stream FROM {OUTBOX} AS row
            WHERE row.shard = each.shard AND {PUBLISHABLE.sql} AND claims > 0
        )
    ),
    EXISTS (
        SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PUBLISHABLE.sql} AND claims > 0
        GROUP BY stream HAVING max(available_at) <= statement_timestamp()
    )
FROM generate_series(0, {SHARDS - 1}) AS each (shard)
"""


def shards_with_work(*, using: str) -> list[tuple[int, bool]]:
    """
    Return the shards with work, each with True if the work is its tried rows.

    Shards with untried or unnumbered rows come first. The order is random, so that workers spread.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(WORK)
        found = cursor.fetchall()
    random.shuffle(found)
    untried = [(shard, False) for shard, has_untried, _ in found if has_untried]
    return untried + [(shard, True) for shard, _, has_tried in found if has_tried]
