"""Numbering: committed rows get their offsets, once, before a subscriber can see them."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import NamedTuple

from django.db import connections, transaction

from ..conditions import UNRENDERED
from ..conf import pillarbox_settings
from ..exceptions import ShardBusyError
from ..metrics.rows import CAPTURED
from ..models import NUMBERING_SEQUENCE, OUTBOX, RIGHTS, RIGHTS_SHARD, SHARDS, STREAMS
from .locks import lock_numbering, numbering_lock

# Numbering takes three plain statements. In a joint one PostgreSQL expects a handful of rows, and compares
# each row with each stream.
# A row waits for earlier rows of its stream that have no payload yet. A row that a trigger wrote waits only
# for those whose rendering was tried: others were committed after it was rendered, and show a later state.
FRESH = f"""
SELECT id, stream FROM {OUTBOX} AS row
LEFT JOIN (
    SELECT stream AS name, min(id) AS first, min(id) FILTER (WHERE claims > 0) AS tried
    FROM {OUTBOX} WHERE shard = %(shard)s AND {UNRENDERED.sql} GROUP BY stream
) AS waiting ON name = stream
WHERE shard = %(shard)s AND "offset" IS NULL AND NOT ({UNRENDERED.sql})
AND (id < CASE WHEN transaction IS NULL THEN first ELSE tried END) IS NOT FALSE
ORDER BY id LIMIT %(limit)s
"""
RIGHTS_HEAD = f"SELECT head FROM {STREAMS} WHERE name = '{RIGHTS}'"
# This statement runs after the one that read the rows. So it sees all ends of rights that were committed
# before these rows, or with them.
ADVANCE = f"""
INSERT INTO {STREAMS} AS known (name, shard, head)
SELECT name, %s, rows FROM unnest(%s::text[], %s::bigint[]) AS counted (name, rows) ORDER BY name
ON CONFLICT (name) DO UPDATE SET head = known.head + EXCLUDED.head
RETURNING name, head, coalesce(({RIGHTS_HEAD}), 0), EXISTS (
    SELECT FROM {OUTBOX} WHERE shard = {RIGHTS_SHARD} AND "offset" IS NULL
)
"""
# A stream whose `Stream` row is lost, but not its history, continues after its last offset, in a new epoch.
RECOVER = f"""
UPDATE {STREAMS} SET head = head + last
FROM (
    SELECT stream, max("offset") FROM {OUTBOX}
    WHERE stream = ANY(%s) AND "offset" IS NOT NULL GROUP BY stream
) AS history (stream, last) WHERE name = stream
RETURNING name, head
"""
# The ids are given twice: with the join alone, PostgreSQL reads the whole of a medium-sized table.
PLACE = f"""
UPDATE {OUTBOX} AS row
SET "offset" = placed."offset", stamp = %(stamp)s, numbering = (SELECT nextval('{NUMBERING_SEQUENCE}'))
FROM unnest(%(rows)s::bigint[], %(offsets)s::bigint[]) AS placed (id, "offset")
WHERE row.id = placed.id AND row.id = ANY(%(rows)s)
"""
# Records in ends of rights which transactions are committed. Later ones were committed under the rights that
# these ends left.
NOTE_SNAPSHOT = f"""
UPDATE {OUTBOX} SET payload = jsonb_build_object(
    'committed', pg_current_snapshot()::text,
    'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
) WHERE id = ANY(%s)
"""
OVERDUE = f"""
SELECT shard FROM generate_series(0, {SHARDS - 1}) AS each (shard) WHERE EXISTS (
    SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard
    AND "offset" IS NULL AND NOT ({UNRENDERED.sql})
    AND created_at < statement_timestamp() - make_interval(secs => %s)
)
"""


def number_overdue(seconds: float, *, using: str) -> set[int]:
    """
    Number a batch of each shard that has rows without offset for longer than ``seconds``.

    Called in case no worker numbers them, since sockets read only numbered rows. Returns the shards with new
    offsets. A shard gets none if its rows all wait for one without payload, or if another process numbers it.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(OVERDUE, [seconds])
        shards = {shard for (shard,) in cursor.fetchall()}
    numbered = set()
    for shard in sorted(shards):
        with suppress(ShardBusyError):  # another process is numbering it
            if number(shard, using=using):
                numbered.add(shard)
    return numbered


def number(shard: int, *, using: str) -> int:
    """
    Give a batch of the shard's committed rows their offsets; return how many rows got one.

    Offsets of a stream are 1, 2, 3 … without a gap, in the order in which the database serialized
    the changes of an object. Any process may call this, even while another one publishes the shard.
    """
    with numbering_lock(shard, using=using):
        rows = number_batch(shard, using=using)
    CAPTURED.inc(rows)
    return rows


def number_rendered(shard: int, *, using: str) -> int:
    """
    Number all rows of the shard that can be numbered; return how many got an offset.

    The caller holds the numbering lock, and adds the rows to `CAPTURED`.
    """
    rows = 0
    while batch := number_batch(shard, using=using):
        rows += batch
    return rows


def number_batch(shard: int, *, using: str) -> int:
    """
    Number one batch, as `number` does; return how many rows got an offset.

    The caller holds the numbering lock, and adds the rows to `CAPTURED` once they are committed.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(FRESH, {"shard": shard, "limit": pillarbox_settings().BATCH_ROWS})
        if not (fresh := cursor.fetchall()):
            return 0
        offsets, stamp = next_offsets(shard, [stream for _, stream in fresh], using=using)
        rows = [pk for pk, _ in fresh]
        cursor.execute(PLACE, {"rows": rows, "offsets": offsets, "stamp": stamp})
        if shard == RIGHTS_SHARD:
            cursor.execute(NOTE_SNAPSHOT, [rows])
    return len(fresh)


class Numbers(NamedTuple):
    """The offsets and the stamp that rows get when they are numbered."""

    #: One for each row.
    offsets: list[int]
    #: The same for all rows.
    stamp: int


def next_offsets(shard: int, streams: Sequence[str], *, using: str) -> Numbers:
    """
    Return an offset for each row of these streams, in order, and their stamp.

    Committed ends of rights that have no offset get one, so that the stamp covers them. The caller holds the
    numbering lock, has already read or rendered the rows, and uses all offsets in the same transaction.
    """
    counted = Counter(streams)
    with connections[using].cursor() as cursor:
        cursor.execute(ADVANCE, [shard, list(counted), list(counted.values())])
        advanced = cursor.fetchall()
        heads = {name: head for name, head, _, _ in advanced}
        _, _, stamp, has_ends = advanced[0]
        if new := [name for name, head in heads.items() if head == counted[name]]:
            cursor.execute(RECOVER, [new])
            heads |= dict(cursor.fetchall())
    # For each stream, an iterator over its new offsets.
    following = {name: count(head - counted[name] + 1) for name, head in heads.items()}
    if has_ends and shard != RIGHTS_SHARD:
        stamp = _number_ends(using)
    return Numbers([next(following[stream]) for stream in streams], stamp)


def _number_ends(using: str) -> int:
    """Number the committed ends of rights, in the caller's transaction; return the last one's offset."""
    lock_numbering(RIGHTS_SHARD, using=using)
    rows = number_rendered(RIGHTS_SHARD, using=using)
    transaction.on_commit(partial(CAPTURED.inc, rows), using=using)
    with connections[using].cursor() as cursor:
        cursor.execute(RIGHTS_HEAD)
        return int(cursor.fetchone()[0])
