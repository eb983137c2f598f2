"""
Which rows of a shard are published next, and the record of who had them in hand.

A row is *untried* until a worker has taken it, *tried* from then on. Untried rows come first, in large
batches. Tried ones come in batches of their own, the smaller the more workers died with them: what
kills its worker ends up alone, and delays nobody else.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import connections

from .attempts import retry
from .conf import outbox_settings
from .exceptions import WorkerDiedError
from .locks import numbering_lock, publishing_is_free
from .metrics import CAPTURED
from .models import SHARDS, Claim, NotificationOutbox
from .numbering import UNRENDERED, number_batch
from .rows import Row, read

#: A row that so many workers died with is taken alone.
DEADLY = 4
#: So many workers may die with a row, by deploys say, before one that dies with it alone counts as an
#: attempt.
FORGIVEN_DEATHS = 10

OUTBOX, CLAIM = NotificationOutbox._meta.db_table, Claim._meta.db_table
PENDING = '"offset" IS NOT NULL AND published_at IS NULL AND failed_at IS NULL'

WORK = f"""
SELECT shard,
    EXISTS (
        SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND "offset" IS NULL AND NOT ({UNRENDERED})
    )
    OR EXISTS (
        SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PENDING} AND claims = 0
        AND stream NOT IN (
            SELECT stream FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PENDING} AND claims > 0
        )
    ),
    EXISTS (
        SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PENDING} AND claims > 0
        GROUP BY stream HAVING max(available_at) <= statement_timestamp()
    )
FROM generate_series(0, {SHARDS - 1}) AS each (shard)
"""
# In the order of the numbers: ids are not, where a transaction committed late. A stream with a tried row
# waits for it.
UNTRIED = f"""
SELECT id, coalesce(pg_column_size(payload), 0), 0 FROM {OUTBOX}
WHERE shard = %(shard)s AND {PENDING} AND claims = 0
AND stream NOT IN (SELECT stream FROM {OUTBOX} WHERE shard = %(shard)s AND {PENDING} AND claims > 0)
ORDER BY numbering, "offset", id LIMIT %(limit)s
"""
# Tried rows are the first of their streams, and come as such or not at all.
TRIED = f"""
SELECT id, size, deaths FROM (
    SELECT id, numbering, "offset", coalesce(pg_column_size(payload), 0) AS size,
           max(claims - attempts) OVER same AS deaths, max(available_at) OVER same AS due_at
    FROM {OUTBOX} WHERE shard = %(shard)s AND {PENDING} AND claims > 0
    WINDOW same AS (PARTITION BY stream)
) AS tried WHERE due_at <= statement_timestamp()
ORDER BY deaths, numbering, "offset", id LIMIT %(limit)s
"""
# Between its claim and its publishing lock a worker holds neither lock: so young a claim is respected.
IN_HAND = f"""
SELECT claimed_at > statement_timestamp() - interval '1 second' AS is_young
FROM {CLAIM} WHERE shard = %s AND rows <> '{{}}'
"""
HOLD = f"""
INSERT INTO {CLAIM} (shard, rows, claimed_at) VALUES (%s, %s, clock_timestamp())
ON CONFLICT (shard) DO UPDATE SET rows = EXCLUDED.rows, claimed_at = EXCLUDED.claimed_at
"""
STILL = f"SELECT FROM {CLAIM} WHERE shard = %s AND rows = %s::bigint[]"
LEFT = f"""
SELECT id, attempts, claims - attempts FROM {OUTBOX}
WHERE id = ANY((SELECT rows FROM {CLAIM} WHERE shard = %s)::bigint[]) AND {PENDING}
"""
HELD = f"id = ANY(%(pks)s) AND {PENDING}"
COUNT_DEATHS = f"UPDATE {OUTBOX} SET claims = claims + 1 WHERE id = ANY(%s) AND {PENDING}"
SETTLE = f"""
UPDATE {OUTBOX} SET published_at = statement_timestamp(), claims = claims + 1
WHERE id = ANY(%s) AND {PENDING}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """What a claim brought."""

    #: How many rows got their offsets.
    numbered: int = 0
    #: Primary keys of the rows that are in hand now.
    rows: list[int] = field(default_factory=list)
    #: Whether nobody else has the shard.
    is_free: bool = True
    #: How many rows a worker that died had in hand.
    left: int = 0
    #: Primary keys of those that failed for it.
    failed: list[int] = field(default_factory=list)


def work(*, using: str) -> list[tuple[int, bool]]:
    """
    Return what can be done now: a shard, and whether it is for its tried rows.

    Untried rows, and rows to number, come first; shards in any order, so that workers spread.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(WORK)
        found = cursor.fetchall()
    random.shuffle(found)
    untried = [(shard, False) for shard, has_untried, _ in found if has_untried]
    return untried + [(shard, True) for shard, _, has_tried in found if has_tried]


def claim(shard: int, *, using: str, tried: bool = False, limit: int | None = None) -> Claimed:
    """
    Take the shard's next batch in hand, of ``limit`` rows at most; of its untried rows it numbers some first.

    Committed when it returns. What the last worker left in hand is counted as its death.
    """
    # Under the numbering lock, so that claims come one after the other, and see each other.
    with numbering_lock(shard, using=using):
        numbered = 0 if tried else number_batch(shard, using=using)
        claimed = _claim(shard, numbered, tried=tried, limit=limit, using=using)
    CAPTURED.inc(numbered)
    return claimed


def _claim(shard: int, numbered: int, *, tried: bool, limit: int | None, using: str) -> Claimed:
    in_hand = _in_hand(shard, using)
    if in_hand == [True] or not publishing_is_free(shard, using=using):
        return Claimed(numbered=numbered, is_free=False)
    left, failed = _count_deaths(shard, using) if in_hand else (0, [])
    rows = _take(shard, TRIED if tried else UNTRIED, limit, using)
    return Claimed(numbered=numbered, rows=rows, left=left, failed=failed)


def load(pks: list[int], *, using: str, longest: int) -> list[Row]:
    """
    Return claimed rows that are to be published, in order; payloads up to ``longest`` bytes.

    They are as many as ``BATCH_BYTES`` allow, one at least. Before the publishing lock is taken: PostgreSQL
    waits without limit for who reads slowly, and that must not hold the lock.
    """
    return read(HELD, {"pks": pks}, using=using, longest=longest)


def is_still_held(shard: int, pks: list[int], *, using: str) -> bool:
    """Whether the claim on these rows stands. The caller holds the publishing lock, and so it will."""
    with connections[using].cursor() as cursor:
        cursor.execute(STILL, [shard, pks])
        return bool(cursor.fetchall())


def settle(rows: Iterable[Row], *, using: str) -> int:
    """Record that the rows were published; return how many. The caller holds the publishing lock."""
    with connections[using].cursor() as cursor:
        cursor.execute(SETTLE, [[row.pk for row in rows]])
        return int(cursor.rowcount)


def release(shard: int, *, using: str) -> None:
    """Have nothing of the shard in hand any more. The caller holds the publishing lock."""
    with connections[using].cursor() as cursor:
        cursor.execute(HOLD, [shard, []])


def _in_hand(shard: int, using: str) -> list[bool]:
    """Return whether the claim with rows in hand is young; nothing if there is none."""
    with connections[using].cursor() as cursor:
        cursor.execute(IN_HAND, [shard])
        return [is_young for (is_young,) in cursor.fetchall()]


def _take(shard: int, candidates: str, limit: int | None, using: str) -> list[int]:
    values = {"shard": shard, "limit": limit or outbox_settings().BATCH_ROWS}
    with connections[using].cursor() as cursor:
        cursor.execute(candidates, values)
        if batch := batch_of(cursor.fetchall()):
            cursor.execute(HOLD, [shard, batch])
    return batch


def batch_of(candidates: Iterable[tuple[int, int, int]]) -> list[int]:
    """Return as many of the candidates (primary key, bytes, deaths), from the first, as go together."""
    conf = outbox_settings()
    batch: list[int] = []
    total = 0
    for pk, size, deaths in candidates:
        total += size
        most = 1 if deaths >= DEADLY else conf.BATCH_ROWS >> 2 * deaths
        if batch and (total > conf.BATCH_BYTES or len(batch) >= most):
            break
        batch.append(pk)
    return batch


def _count_deaths(shard: int, using: str) -> tuple[int, list[int]]:
    """
    Count what is still in hand as one more death, for each row; nobody has it any more.

    Return how many rows it is about, and which of them failed for it.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(LEFT, [shard])
        if not (left := cursor.fetchall()):
            return 0, []
        cursor.execute(HOLD, [shard, []])
        (pk, attempts, deaths), is_alone = left[0], len(left) == 1
        if is_alone and deaths >= FORGIVEN_DEATHS:
            outcomes = retry([(pk, attempts, WorkerDiedError(deaths))], using=using)
            return 1, [pk for pk, _, is_failed in outcomes if is_failed]
        cursor.execute(COUNT_DEATHS, [[pk for pk, *_ in left]])
    return len(left), []
