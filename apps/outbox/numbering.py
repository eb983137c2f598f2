"""Offsets: given to committed rows, once, before anyone sees them."""

from collections import Counter
from contextlib import suppress
from itertools import count

from django.db import connections

from .conf import outbox_settings
from .exceptions import ShardBusyError
from .locks import numbering_lock
from .metrics import CAPTURED
from .models import SHARDS, NotificationOutbox, Stream

#: As the index has it.
UNRENDERED = "payload IS NULL AND obsolete_at IS NULL AND failed_at IS NULL"
# Three plain statements: joined into one, PostgreSQL, which thinks of a handful of rows, compares each
# row with each stream.
# A row waits for those of its stream that were written before it and have no payload yet.
FRESH = f"""
SELECT id, stream FROM {NotificationOutbox._meta.db_table} AS row
LEFT JOIN (
    SELECT stream AS name, min(id) AS first FROM {NotificationOutbox._meta.db_table}
    WHERE shard = %(shard)s AND {UNRENDERED} GROUP BY stream
) AS waiting ON name = stream
WHERE shard = %(shard)s AND "offset" IS NULL AND NOT ({UNRENDERED}) AND (first IS NULL OR id < first)
ORDER BY id LIMIT %(limit)s
"""
ADVANCE = f"""
INSERT INTO {Stream._meta.db_table} AS known (name, shard, head)
SELECT name, %s, rows FROM unnest(%s::text[], %s::bigint[]) AS counted (name, rows) ORDER BY name
ON CONFLICT (name) DO UPDATE SET head = known.head + EXCLUDED.head
RETURNING name, head
"""
# A stream that lost its row, and not its history, goes on where it was, in another epoch.
RECOVER = f"""
UPDATE {Stream._meta.db_table} SET head = head + last
FROM (
    SELECT stream, max("offset") FROM {NotificationOutbox._meta.db_table}
    WHERE stream = ANY(%s) AND "offset" IS NOT NULL GROUP BY stream
) AS history (stream, last) WHERE name = stream
RETURNING name, head
"""
# The keys are named twice: joined with a list, PostgreSQL would rather read a whole table of medium size.
PLACE = f"""
UPDATE {NotificationOutbox._meta.db_table} AS row
SET "offset" = placed."offset", numbering = (SELECT nextval('outbox_numbering'))
FROM unnest(%(rows)s::bigint[], %(offsets)s::bigint[]) AS placed (id, "offset")
WHERE row.id = placed.id AND row.id = ANY(%(rows)s)
"""
OVERDUE = f"""
SELECT shard FROM generate_series(0, {SHARDS - 1}) AS each (shard) WHERE EXISTS (
    SELECT FROM {NotificationOutbox._meta.db_table} AS row WHERE row.shard = each.shard
    AND "offset" IS NULL AND created_at < statement_timestamp() - make_interval(secs => %s)
)
"""


def number_overdue(seconds: float, *, using: str) -> set[int]:
    """
    Number a batch of each shard that has rows without offset older than this; return these shards.

    For when no worker does: sockets read the history, and it should know of what was committed.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(OVERDUE, [seconds])
        shards = {shard for (shard,) in cursor.fetchall()}
    for shard in sorted(shards):
        with suppress(ShardBusyError):  # somebody is at it
            number(shard, using=using)
    return shards


def number(shard: int, *, using: str) -> int:
    """
    Give a batch of the shard's committed rows their offsets; return how many rows got one.

    Offsets of a stream are 1, 2, 3 … without a gap, in the order in which the database serialized
    the changes of an object. Any process may do it, beside whoever publishes the shard.
    """
    with numbering_lock(shard, using=using):
        rows = number_batch(shard, using=using)
    CAPTURED.inc(rows)
    return rows


def number_batch(shard: int, *, using: str) -> int:
    """Do what `number` does, for a caller that holds the numbering lock, and counts what it commits."""
    with connections[using].cursor() as cursor:
        cursor.execute(FRESH, {"shard": shard, "limit": outbox_settings().BATCH_ROWS})
        if not (fresh := cursor.fetchall()):
            return 0
        counted = Counter(stream for _, stream in fresh)
        cursor.execute(ADVANCE, [shard, list(counted), list(counted.values())])
        # The batch's first offset of each stream, and then the next.
        heads = dict(cursor.fetchall())
        if new := [name for name, head in heads.items() if head == counted[name]]:
            cursor.execute(RECOVER, [new])
            heads |= dict(cursor.fetchall())
        following = {name: count(head - counted[name] + 1) for name, head in heads.items()}
        offsets = [next(following[stream]) for _, stream in fresh]
        cursor.execute(PLACE, {"rows": [pk for pk, _ in fresh], "offsets": offsets})
    return len(fresh)
