"""The shards with rows to render."""

import random

from django.db import connections

from ....conditions import UNRENDERED
from ....models import OUTBOX, SHARDS
from ....types.live_models import object_type_names

# Untried rows never wait. If one seems to be due later, the clock was set back.
WAITING = f"""
SELECT shard FROM generate_series(0, {SHARDS - 1}) AS each (shard) WHERE EXISTS (
    SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {UNRENDERED.sql}
    AND (claims = 0 OR available_at <= statement_timestamp()) AND object_type = ANY(%s)
)
"""
OVERDUE = f"""
SELECT shard FROM generate_series(0, {SHARDS - 1}) AS each (shard) WHERE EXISTS (
    SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {UNRENDERED.sql} AND claims = 0
    AND created_at < statement_timestamp() - make_interval(secs => %s) AND object_type = ANY(%s)
)
"""


def shards_to_render(*, using: str) -> list[int]:
    """Return the shards with rows to render, in any order."""
    with connections[using].cursor() as cursor:
        cursor.execute(WAITING, [object_type_names()])
        shards = [shard for (shard,) in cursor.fetchall()]
    random.shuffle(shards)
    return shards


def overdue_shards(seconds: float, *, using: str) -> list[int]:
    """Return the shards with unrendered rows older than ``seconds`` that no process has taken yet."""
    with connections[using].cursor() as cursor:
        cursor.execute(OVERDUE, [seconds, object_type_names()])
        return [shard for (shard,) in cursor.fetchall()]
