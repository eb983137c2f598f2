"""The rows that hold something of an erasure's objects, and the statements that blank them."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.db import connections, transaction

from ..capture.wake_ups import wake_up_on_commit
from ..conditions import PENDING, UNRENDERED
from ..exceptions import ShardBusyError
from ..models import CLAIMS, OUTBOX, RENDERINGS, RIGHTS_SHARD
from ..relay.claim import current
from ..relay.claimed_rows import release
from ..stream.locks import bounded_transaction, numbering_lock
from .subject import Subject

#: Rows blanked in one transaction. A shard isn't numbered meanwhile, which takes some milliseconds.
BATCH = 500

# Ends of rights are left out: they have only keys, and sockets need them. PostgreSQL looks names up in a hash
# table; joined with thousands of them, it may compare each row with each.
ABOUT = f"""
object_type || ':' || object_id = ANY(string_to_array(%(names)s, E'\\n'))
AND lookup = '' AND shard < {RIGHTS_SHARD}
"""
HAS_PAYLOAD = "(NOT payload::text = ANY(string_to_array(%(bare)s, E'\\n')))"
HOLDING = f"""
{ABOUT} AND ({HAS_PAYLOAD} OR image IS NOT NULL OR error_message <> '' OR error_traceback <> '')
"""
# A replay's row is as old as the row that it repeats.
NEXT = f"""
SELECT id, shard, {PENDING.sql} FROM {OUTBOX}
WHERE {HOLDING} AND id > %(after)s AND coalesce(repeats, id) <= %(last)s ORDER BY id LIMIT {BATCH}
"""
COUNT = f"""
SELECT count(*) FILTER (WHERE published_at IS NOT NULL), count(*) FILTER (WHERE {PENDING.sql}),
    count(*) FILTER (WHERE failed_at IS NOT NULL)
FROM {OUTBOX} WHERE {HOLDING}
"""
UNRENDERED_ROWS = f"""
SELECT shard, array_agg(id) FROM {OUTBOX} WHERE {UNRENDERED.sql} AND {ABOUT} GROUP BY shard ORDER BY shard
"""
# An unrendered row loses only its image: it is rendered as its object is then, like other rows without one.
# A numbered row is settled at once. A worker that was stopped with its payload finds that its claim is gone,
# and no later claim equals that one.
BLANK = f"""
WITH free AS MATERIALIZED (
    SELECT id AS pk, coalesce({HAS_PAYLOAD}, false) AS has_payload FROM {OUTBOX}
    WHERE id = ANY(%(pks)s) AND ({PENDING.sql}) = %(is_pending)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {OUTBOX} AS row SET
    payload = CASE WHEN NOT has_payload THEN payload END, image = NULL,
    obsolete_at = CASE WHEN has_payload OR image IS NOT NULL AND failed_at IS NOT NULL
        THEN coalesce(obsolete_at, statement_timestamp()) ELSE obsolete_at END,
    published_at = CASE WHEN has_payload AND "offset" IS NOT NULL AND failed_at IS NULL
        THEN coalesce(published_at, statement_timestamp()) ELSE published_at END,
    error_message = '', error_traceback = ''
FROM free WHERE row.id = pk AND row.id = ANY(%(pks)s)
"""
CLAIMED = f"SELECT unnest(rows) FROM {CLAIMS} WHERE shard = %s"
# The record stays locked until the commit, so no process takes a batch that it has read before. The turn
# counts if no batch is recorded, because a process may be about to take one.
CANCEL_RENDERING = f"""
INSERT INTO {RENDERINGS} AS known (shard, rows, turn, seen_at) VALUES (%s, '{{}}', 1, 'epoch')
ON CONFLICT (shard) DO UPDATE SET rows = '{{}}', turn = known.turn + 1
WHERE known.rows = '{{}}' OR known.rows && %s::bigint[]
"""


class Held(NamedTuple):
    """A row that holds something of an erasure's objects."""

    pk: int
    shard: int
    is_pending: bool


class Count(NamedTuple):
    """The number of rows that hold something of an erasure's objects, by state."""

    #: Published or obsolete.
    published: int
    pending: int
    failed: int


def count(subject: Subject) -> Count:
    """Return how many rows hold something of the objects. It reads the whole outbox."""
    with connections[subject.using].cursor() as cursor:
        cursor.execute(COUNT, _values(subject))
        return Count._make(cursor.fetchone())


def held_batches(subject: Subject, *, last: int) -> Iterator[list[Held]]:
    """Yield batches of the rows up to ``last`` that hold something of the objects, by primary key."""
    after = 0
    while batch := _next(subject, after, last):
        yield batch
        after = batch[-1].pk


def cancel_rendering(subject: Subject) -> None:
    """
    Cancel the rendering of the objects' rows; they are rendered again, as the objects are then.

    A process that renders them now may have read an object before it was deleted. Raises RuntimeError in a
    transaction, and ShardBusyError if another process holds a record for long.
    """
    using = subject.using
    with connections[using].cursor() as cursor:
        with transaction.atomic(using=using, durable=True):
            cursor.execute(UNRENDERED_ROWS, _values(subject))
            found = cursor.fetchall()
        for shard, pks in found:
            with bounded_transaction(shard, using=using):
                cursor.execute(CANCEL_RENDERING, [shard, pks])


def blank_settled(subject: Subject, shard: int, pks: Sequence[int]) -> int:
    """
    Blank published and failed rows of a shard; return how many. Rows that others have locked are left.

    Raises LockLostError if this process was stopped meanwhile.
    """
    with bounded_transaction(shard, using=subject.using):
        return _blank(subject, pks, is_pending=False)


def blank_pending(subject: Subject, shard: int, pks: Sequence[int]) -> int:
    """
    Blank pending rows of a shard; return how many.

    Left out are rows that a worker publishes now, and all if the shard's lock isn't free in time.
    """
    try:
        with numbering_lock(shard, using=subject.using):
            if not (free := _unclaimed(shard, pks, subject.using)):
                return 0
            with connections[subject.using].cursor() as cursor:
                cursor.execute(CANCEL_RENDERING, [shard, free])
            rows = _blank(subject, free, is_pending=True)
            wake_up_on_commit(subject.using)
            return rows
    except ShardBusyError:
        return 0


def _next(subject: Subject, after: int, last: int) -> list[Held]:
    with connections[subject.using].cursor() as cursor:
        cursor.execute(NEXT, {**_values(subject), "after": after, "last": last})
        return [Held._make(found) for found in cursor.fetchall()]


def _blank(subject: Subject, pks: Sequence[int], *, is_pending: bool) -> int:
    values = {**_values(subject), "pks": list(pks), "is_pending": is_pending}
    with connections[subject.using].cursor() as cursor:
        cursor.execute(BLANK, values)
        return int(cursor.rowcount)


def _unclaimed(shard: int, pks: Sequence[int], using: str) -> list[int]:
    """Return the rows that no worker has claimed. Clear the claim first if its worker has died."""
    with connections[using].cursor() as cursor:
        cursor.execute(CLAIMED, [shard])
        claimed = {pk for (pk,) in cursor.fetchall()}.intersection(pks)
    if claimed:
        _, is_free = current(shard, using=using)
        if is_free:
            release(shard, using=using)
            return list(pks)
    return [pk for pk in pks if pk not in claimed]


def _values(subject: Subject) -> dict[str, Any]:
    return {"names": "\n".join(subject.names), "bare": "\n".join(subject.bare_payloads)}
