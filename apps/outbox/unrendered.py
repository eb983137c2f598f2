"""
The rows of a shard that wait for their payloads: who renders them, and what came of it.

A process takes a batch and says so in the table `Rendering`, committed before the project's code runs. What
stands there while its process is silent was left by one that died: a death is counted for each of its rows.
Rows that processes died with come in ever smaller batches, until the one that kills is alone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction

from .announcers import announcers
from .attempts import retry
from .claim import FORGIVEN_DEATHS, batch_of
from .conf import outbox_settings
from .exceptions import WorkerDiedError
from .models import SHARDS, NotificationOutbox, Rendering, shard_of
from .numbering import UNRENDERED
from .rendering import Rendered, Unrendered
from .triggers.netting import redundant, written

OUTBOX, RENDERING = NotificationOutbox._meta.db_table, Rendering._meta.db_table
#: A process that has not said for so long that it is there has died, or was stopped.
SILENT_SECONDS = 2.0

FIRST = f"INSERT INTO {RENDERING} (shard, rows, seen_at) VALUES (%s, '{{}}', 'epoch') ON CONFLICT DO NOTHING"
IN_HAND = f"""
SELECT rows, seen_at > clock_timestamp() - make_interval(secs => %s) FROM {RENDERING}
WHERE shard = %s FOR UPDATE SKIP LOCKED
"""
HOLD = f"""
UPDATE {RENDERING} SET rows = %s, turn = turn + 1, seen_at = clock_timestamp() WHERE shard = %s RETURNING turn
"""
STAY = f"UPDATE {RENDERING} SET seen_at = clock_timestamp() WHERE shard = %s AND turn = %s"
LET_GO = f"UPDATE {RENDERING} SET rows = '{{}}' WHERE shard = %s AND turn = %s"
LEFT = f"SELECT id, attempts, claims - attempts FROM {OUTBOX} WHERE id = ANY(%s) AND {UNRENDERED}"
COUNT_DEATHS = f"UPDATE {OUTBOX} SET claims = claims + 1 WHERE id = ANY(%s)"
WAITING = f"""
SELECT shard FROM generate_series(0, {SHARDS - 1}) AS each (shard) WHERE EXISTS (
    SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {UNRENDERED}
    AND available_at <= statement_timestamp() AND object_type = ANY(%s)
)
"""
# A stream with a tried row waits for it.
UNTRIED = f"""
SELECT id, coalesce(pg_column_size(image), 0), 0 FROM {OUTBOX}
WHERE shard = %(shard)s AND {UNRENDERED} AND claims = 0 AND object_type = ANY(%(types)s)
AND stream NOT IN (
    SELECT stream FROM {OUTBOX} WHERE shard = %(shard)s AND {UNRENDERED} AND claims > 0
) ORDER BY id LIMIT %(limit)s
"""
TRIED = f"""
SELECT id, coalesce(pg_column_size(image), 0), claims - attempts FROM {OUTBOX}
WHERE shard = %(shard)s AND {UNRENDERED} AND claims > 0 AND object_type = ANY(%(types)s)
AND available_at <= statement_timestamp()
ORDER BY claims - attempts, id LIMIT %(limit)s
"""
ROWS = f"""
SELECT id, transaction, stream, event, event_id::text, object_type, object_id, image::text, attempts,
    is_everywhere
FROM {OUTBOX} WHERE id = ANY(%s) ORDER BY id
"""
# A payload is set once.
SETTLE = f"""
UPDATE {OUTBOX} AS row SET payload = done.payload::jsonb, image = NULL,
    obsolete_at = CASE WHEN done.payload IS NULL THEN statement_timestamp() END
FROM unnest(%s::bigint[], %s::text[]) AS done (id, payload)
WHERE row.id = done.id AND row.payload IS NULL AND obsolete_at IS NULL AND failed_at IS NULL
"""
COPY = f"""
INSERT INTO {OUTBOX} (stream, shard, event_id, event, object_type, object_id, transaction)
SELECT added.stream, added.shard, event_id, event, object_type, object_id, transaction
FROM unnest(%s::bigint[], %s::text[], %s::int[]) AS added (id, stream, shard)
JOIN {OUTBOX} AS row ON row.id = added.id ORDER BY added.id, added.stream
"""
COPIED = f"UPDATE {OUTBOX} SET is_everywhere = false WHERE id = ANY(%s)"
DROP = f"DELETE FROM {OUTBOX} WHERE id = ANY(%s) AND {UNRENDERED}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Rows of a shard that one process renders."""

    shard: int
    #: Tells the batch from every other one of its shard.
    turn: int
    rows: list[Unrendered]


def shards_to_render(*, using: str) -> list[int]:
    """Return the shards with rows to render, in any order."""
    with connections[using].cursor() as cursor:
        cursor.execute(WAITING, [_known_types()])
        shards = [shard for (shard,) in cursor.fetchall()]
    random.shuffle(shards)
    return shards


def take(shard: int, *, using: str) -> Batch | None:
    """
    Take the shard's next batch of rows without payload; None if another process is at it.

    Committed when it returns. Rows that say nothing new are dropped.
    """
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(FIRST, [shard])
        cursor.execute(IN_HAND, [SILENT_SECONDS, shard])
        in_hand = cursor.fetchall()
        if not in_hand or (in_hand[0][0] and in_hand[0][1]):
            return None
        _count_deaths(in_hand[0][0], using)
        pks = _next(shard, using)
        cursor.execute(ROWS, [pks])
        rows = [Unrendered._make(row) for row in cursor.fetchall()]
        dropped = redundant(map(written, rows))
        cursor.execute(DROP, [list(dropped)])
        rows = [row for row in rows if row.pk not in dropped]
        cursor.execute(HOLD, [[row.pk for row in rows], shard])
        return Batch(shard=shard, turn=cursor.fetchone()[0], rows=rows)


def stay(batch: Batch, *, using: str) -> bool:
    """Say that the batch is still being rendered; return whether it is still the caller's."""
    with connections[using].cursor() as cursor:
        cursor.execute(STAY, [batch.shard, batch.turn])
        return bool(cursor.rowcount)


def settle(batch: Batch, results: Sequence[Rendered], *, using: str) -> bool:
    """
    Record what came of a batch that was taken; return False, and change nothing, if it was taken away.

    A row about an object that was never there is dropped, a row with an image whose object is gone or
    elsewhere is obsolete, and a row with an error is tried again after its backoff, or fails.
    """
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(LET_GO, [batch.shard, batch.turn])
        if not cursor.rowcount:
            return False
        failures = [result for result in results if result.error is not None]
        dropped = [
            r.row.pk for r in results if r.payload is None and not r.error and not r.row.image
        ]
        done = [r for r in results if not r.error and r.row.pk not in set(dropped)]
        cursor.execute(DROP, [dropped])
        _copy_to_further_streams([result for result in results if result.further], using)
        cursor.execute(SETTLE, [[r.row.pk for r in done], [r.payload for r in done]])
        if failures:
            retry([_failure(result) for result in failures], using=using)
    return True


def _copy_to_further_streams(results: Sequence[Rendered], using: str) -> None:
    """Write a row for each further stream of the objects; it is rendered in its own turn."""
    if results:
        added = [(r.row.pk, stream, shard_of(stream)) for r in results for stream in r.further]
        with connections[using].cursor() as cursor:
            cursor.execute(COPY, [list(column) for column in zip(*added, strict=True)])
            cursor.execute(COPIED, [[result.row.pk for result in results]])


def _failure(result: Rendered) -> tuple[int, int, Exception, str, str | None]:
    assert result.error is not None
    row = result.row
    return row.pk, row.attempts, result.error, row.object_type, row.image


def _count_deaths(pks: list[int], using: str) -> None:
    """Count one more death for rows that a process left, or, for one that was long alone, an attempt."""
    with connections[using].cursor() as cursor:
        cursor.execute(LEFT, [pks])
        left = cursor.fetchall()
        if len(left) == 1 and left[0][2] >= FORGIVEN_DEATHS:
            ((pk, attempts, deaths),) = left
            retry([(pk, attempts, WorkerDiedError(deaths))], using=using)
        elif left:
            cursor.execute(COUNT_DEATHS, [[pk for pk, *_ in left]])


def _next(shard: int, using: str) -> list[int]:
    """Return the primary keys of the rows that go together next; rows that nobody died with come first."""
    limit = outbox_settings().BATCH_ROWS
    values: dict[str, Any] = {"shard": shard, "limit": limit, "types": _known_types()}
    with connections[using].cursor() as cursor:
        for candidates in (UNTRIED, TRIED):
            cursor.execute(candidates, values)
            if batch := batch_of(cursor.fetchall()):
                return batch
    return []


def _known_types() -> list[str]:
    """Return the object types of this process: rows of others are left to processes that know them."""
    return sorted({announcer.object_type for announcer in announcers()})
