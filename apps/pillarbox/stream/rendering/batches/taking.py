"""
Taking of batches: a process takes unrendered rows of a shard, to render them.

It records its batch and commits before the project's code runs. A process that doesn't renew the record
counts as dead, and each row of its batch counts one more death. Rows that processes died with come in ever
smaller batches, until the row that kills is alone.
"""

from collections.abc import Sequence
from typing import Any

from django.db import connections, transaction

from ....conditions import UNRENDERED
from ....conf import pillarbox_settings
from ....exceptions import WorkerDiedError
from ....metrics.rows import FAILED, RETRIED
from ....models import OUTBOX, RENDERINGS
from ....types.live_models import object_type_names
from ...attempts import FailedAttempt, Recorded, record_and_log
from ...batch_sizes import FORGIVEN_DEATHS, batch_of
from ...locks import bounded_transaction
from ..results import Unrendered
from .batch import UNRENEWED_SECONDS, Batch, release
from .netting import net, written

#: The log record of a row whose rendering killed too many processes.
DIED = {"message": "A worker died rendering a row", "action": "worker_died"}

FIRST = f"INSERT INTO {RENDERINGS} (shard, rows, seen_at) VALUES (%s, '{{}}', 'epoch') ON CONFLICT DO NOTHING"
CURRENT = f"""
SELECT rows, abs(extract(epoch FROM clock_timestamp() - seen_at)) < %s FROM {RENDERINGS}
WHERE shard = %s FOR UPDATE SKIP LOCKED
"""
RECORD = f"""
UPDATE {RENDERINGS} SET rows = %s, turn = turn + 1, seen_at = clock_timestamp() WHERE shard = %s
RETURNING turn
"""
ABANDONED = f"""
SELECT id, claims - attempts, event_id::text, attempts, object_type FROM {OUTBOX}
WHERE id = ANY(%s) AND {UNRENDERED.sql}
"""
COUNT_DEATHS = f"UPDATE {OUTBOX} SET claims = claims + 1 WHERE id = ANY(%s)"
# A stream with a tried row waits for that row.
UNTRIED = f"""
SELECT id, coalesce(pg_column_size(image), 0), 0 FROM {OUTBOX}
WHERE shard = %(shard)s AND {UNRENDERED.sql} AND claims = 0 AND object_type = ANY(%(types)s)
AND stream NOT IN (
    SELECT stream FROM {OUTBOX} WHERE shard = %(shard)s AND {UNRENDERED.sql} AND claims > 0
) ORDER BY id LIMIT %(limit)s
"""
TRIED = f"""
SELECT id, coalesce(pg_column_size(image), 0), claims - attempts FROM {OUTBOX}
WHERE shard = %(shard)s AND {UNRENDERED.sql} AND claims > 0 AND object_type = ANY(%(types)s)
AND available_at <= statement_timestamp()
ORDER BY claims - attempts, id LIMIT %(limit)s
"""
COLUMNS = """
id, transaction, stream, event, event_id::text, object_type, object_id, image::text, attempts,
is_everywhere, lookup, is_move, coalesce(left_streams, '{}')
"""
ROWS = f"""
SELECT {COLUMNS}
FROM {OUTBOX} WHERE id = ANY(%s) ORDER BY id
"""
# Takes untried rows, if no process has a batch of the shard. Comparing the turn detects a process that took
# and settled these rows since the statement began. A crash of the database may lose this record, but it
# also ends the rendering, so the commit doesn't wait for the disk.
TAKE = f"""
WITH next AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, bytes, sum(bytes) OVER (ORDER BY id) AS total
        FROM ({UNTRIED}) AS untried (id, bytes, deaths)
    ) AS summed WHERE total <= %(bytes)s OR total = bytes
), free AS (
    SELECT turn FROM {RENDERINGS} WHERE shard = %(shard)s AND rows = '{{}}'
    AND turn = (SELECT turn FROM {RENDERINGS} WHERE shard = %(shard)s) FOR UPDATE SKIP LOCKED
), held AS (
    UPDATE {RENDERINGS} AS held SET rows = ARRAY(SELECT id FROM next), turn = held.turn + 1,
        seen_at = clock_timestamp()
    FROM free WHERE shard = %(shard)s AND EXISTS (SELECT FROM next) RETURNING held.turn
)
SELECT {COLUMNS}, turn, set_config('synchronous_commit', 'off', true)
FROM {OUTBOX} AS row CROSS JOIN held WHERE id = ANY(ARRAY(SELECT id FROM next)) ORDER BY id
"""
MERGE = f"UPDATE {OUTBOX} SET is_move = %s, left_streams = %s WHERE id = %s"
DROP = f"DELETE FROM {OUTBOX} WHERE id = ANY(%s) AND {UNRENDERED.sql}"


def take(shard: int, *, using: str, untried_only: bool = False) -> Batch | None:
    """
    Take the shard's next batch of unrendered rows; return None if another process has one.

    The record is committed when this returns. Redundant rows are deleted. With ``untried_only``, tried rows
    (a process died with them, or their rendering failed) are left to others. Raises ShardBusyError if a
    row isn't free in time.
    """
    if batch := take_untried(shard, using=using):
        return batch
    candidates = (UNTRIED,) if untried_only else (UNTRIED, TRIED)
    with bounded_transaction(shard, using=using), connections[using].cursor() as cursor:
        cursor.execute(FIRST, [shard])
        cursor.execute(CURRENT, [UNRENEWED_SECONDS, shard])
        current = cursor.fetchall()
        if not current or (current[0][0] and current[0][1]):
            return None
        failures = _count_deaths(current[0][0], using)
        rows: list[Unrendered] = []
        while not rows and (pks := _next(shard, candidates, using)):
            rows = _net(_rows(pks, using), using)
        cursor.execute(RECORD, [[row.pk for row in rows], shard])
        batch = Batch(shard=shard, turn=cursor.fetchone()[0], rows=rows)
    RETRIED.inc(failures.retried)
    FAILED.inc(failures.failed)
    return batch


def take_untried(shard: int, *, using: str) -> Batch | None:
    """
    Take the shard's next batch of untried rows; return None if there are none or another process has one.

    This costs one statement, unless rows are redundant.
    """
    while (batch := _take_untried(shard, using)) and not batch.rows:
        release(batch, using=using)
    return batch


def _take_untried(shard: int, using: str) -> Batch | None:
    conf = pillarbox_settings()
    values: dict[str, Any] = {"shard": shard, "limit": conf.BATCH_ROWS, "bytes": conf.BATCH_BYTES}
    with connections[using].cursor() as cursor:
        cursor.execute(TAKE, {**values, "types": object_type_names()})
        found = cursor.fetchall()
    if not found:
        return None
    rows = [Unrendered._make((*columns, tuple(left))) for *columns, left, _, _ in found]
    return Batch(shard=shard, turn=found[0][-2], rows=_net(rows, using))


def _rows(pks: list[int], using: str) -> list[Unrendered]:
    with connections[using].cursor() as cursor:
        cursor.execute(ROWS, [pks])
        return [Unrendered._make((*row[:-1], tuple(row[-1]))) for row in cursor.fetchall()]


def _net(rows: list[Unrendered], using: str) -> list[Unrendered]:
    """Delete the redundant rows of a batch; return the others."""
    redundant, merged = net(map(written, rows))
    if not redundant and not merged:
        return rows
    changed = {row.pk: (row.is_move, row.left_streams) for row in merged}
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(DROP, [list(redundant)])
        cursor.executemany(MERGE, [(move, list(left), pk) for pk, (move, left) in changed.items()])
    return [
        row._replace(is_move=changed[row.pk][0], left_streams=changed[row.pk][1])
        if row.pk in changed
        else row
        for row in rows
        if row.pk not in redundant
    ]


def _count_deaths(pks: list[int], using: str) -> Recorded:
    """Count one more death for abandoned rows; or an attempt, for a single row with many deaths."""
    with connections[using].cursor() as cursor:
        cursor.execute(ABANDONED, [pks])
        left = cursor.fetchall()
        if len(left) == 1 and left[0][1] >= FORGIVEN_DEATHS:
            ((pk, deaths, event_id, attempts, object_type),) = left
            error = WorkerDiedError(deaths)
            failure = FailedAttempt(pk, attempts, error, object_type, event_id=event_id)
            return record_and_log([failure], using=using, **DIED)
        if left:
            cursor.execute(COUNT_DEATHS, [[pk for pk, *_ in left]])
        return Recorded()


def _next(shard: int, queries: Sequence[str], using: str) -> list[int]:
    """Return the primary keys of the next batch, from the first query that finds rows."""
    limit = pillarbox_settings().BATCH_ROWS
    values: dict[str, Any] = {"shard": shard, "limit": limit, "types": object_type_names()}
    with connections[using].cursor() as cursor:
        for candidates in queries:
            cursor.execute(candidates, values)
            if batch := batch_of(cursor.fetchall()):
                return batch
    return []
