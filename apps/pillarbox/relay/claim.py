"""
Claims: a worker records the rows of a shard that it publishes next.

A row is *untried* until a worker has claimed it, and *tried* from then on. Untried rows come first, in
large batches. Tried rows come in separate batches, which shrink with each worker that died with them.
So a row that kills its worker ends up alone, and delays no other row.
"""

from dataclasses import dataclass, field

from django.db import connections

from ..conditions import PUBLISHABLE
from ..conf import pillarbox_settings
from ..metrics.rows import CAPTURED
from ..models import CLAIMS, OUTBOX
from ..stream.batch_sizes import batch_of
from ..stream.locks import PUBLISHING, TRY, numbering_lock
from ..stream.numbering import number_batch
from .dead_workers import count_deaths

# Ordered by numbering, because primary keys are out of order when a transaction committed late. A stream
# with a tried row waits for that row.
UNTRIED = f"""
SELECT id, coalesce(pg_column_size(payload), 0), 0, row_number() OVER (ORDER BY numbering, "offset", id)
FROM {OUTBOX} WHERE shard = %(shard)s AND {PUBLISHABLE.sql} AND claims = 0
AND stream NOT IN (SELECT stream FROM {OUTBOX} WHERE shard = %(shard)s AND {PUBLISHABLE.sql} AND claims > 0)
ORDER BY numbering, "offset", id LIMIT %(limit)s
"""
# The tried rows of a stream precede its untried rows. They are due all together or not at all.
TRIED = f"""
SELECT id, size, deaths FROM (
    SELECT id, numbering, "offset", coalesce(pg_column_size(payload), 0) AS size,
           max(claims - attempts) OVER same AS deaths, max(available_at) OVER same AS due_at
    FROM {OUTBOX} WHERE shard = %(shard)s AND {PUBLISHABLE.sql} AND claims > 0
    WINDOW same AS (PARTITION BY stream)
) AS tried WHERE due_at <= statement_timestamp()
ORDER BY deaths, numbering, "offset", id LIMIT %(limit)s
"""
# A worker holds no lock between its claim and its publishing lock, so a claim this young is respected. A
# claim in the future isn't young: the clock was set back since.
CURRENT = f"""
SELECT is_young, CASE WHEN is_young THEN false ELSE {TRY}(%s, %s) END FROM (
    SELECT (
        SELECT abs(extract(epoch FROM statement_timestamp() - claimed_at)) < 1
        FROM {CLAIMS} WHERE shard = %s AND rows <> '{{}}'
    ) AS is_young
) AS current
"""
RECORD = f"""
INSERT INTO {CLAIMS} (shard, rows, claimed_at) VALUES (%s, %s, clock_timestamp())
ON CONFLICT (shard) DO UPDATE SET rows = EXCLUDED.rows, claimed_at = EXCLUDED.claimed_at
"""
# Limited by bytes as in `batch_of`; deaths don't matter, since no worker died with an untried row.
RECORD_UNTRIED = f"""
INSERT INTO {CLAIMS} (shard, rows, claimed_at)
SELECT %(shard)s, array_agg(id ORDER BY place), clock_timestamp() FROM (
    SELECT id, place, bytes, sum(bytes) OVER (ORDER BY place) AS total
    FROM ({UNTRIED}) AS untried (id, bytes, deaths, place)
) AS summed WHERE total <= %(bytes)s OR total = bytes HAVING count(*) > 0
ON CONFLICT (shard) DO UPDATE SET rows = EXCLUDED.rows, claimed_at = EXCLUDED.claimed_at
RETURNING rows
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """The result of a claim."""

    #: How many rows got their offsets.
    numbered: int = 0
    #: Primary keys of the claimed rows.
    rows: list[int] = field(default_factory=list)
    #: False if another worker has the shard.
    is_free: bool = True
    #: How many rows a dead worker had claimed.
    left: int = 0
    #: Primary keys of those that are failed now because of it.
    failed: list[int] = field(default_factory=list)


def claim(shard: int, *, using: str, tried: bool = False, limit: int | None = None) -> Claimed:
    """
    Claim the shard's next batch of at most ``limit`` rows. For untried rows, number a batch first.

    The claim is committed when this returns. Rows that the last worker left claimed count one more death.
    """
    # Under the numbering lock, so that claims follow one another and see each other.
    with numbering_lock(shard, using=using):
        numbered = 0 if tried else number_batch(shard, using=using)
        claimed = _claim(shard, numbered, tried=tried, limit=limit, using=using)
    CAPTURED.inc(numbered)
    return claimed


def claim_numbered(shard: int, *, using: str, limit: int) -> Claimed:
    """Claim numbered rows like `claim`, for a caller that holds the numbering lock."""
    return _claim(shard, 0, tried=False, limit=limit, using=using)


def _claim(shard: int, numbered: int, *, tried: bool, limit: int | None, using: str) -> Claimed:
    is_young, is_free = current(shard, using=using)
    if not is_free:
        return Claimed(numbered=numbered, is_free=False)
    left, failed = (0, []) if is_young is None else count_deaths(shard, using=using)
    rows = (_take_tried if tried else _take_untried)(shard, limit, using)
    return Claimed(numbered=numbered, rows=rows, left=left, failed=failed)


def current(shard: int, *, using: str) -> tuple[bool | None, bool]:
    """
    Return whether the shard's claim is young (None: no claim), and whether the shard is free.

    The caller holds the numbering lock. The shard is free if the claim isn't young and no worker publishes.
    It stays free until the open transaction ends, because this takes the publishing lock.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(CURRENT, [PUBLISHING, shard, shard])
        is_young, is_free = cursor.fetchone()
    return is_young, is_free is True


def _take_untried(shard: int, limit: int | None, using: str) -> list[int]:
    conf = pillarbox_settings()
    values = {"shard": shard, "limit": limit or conf.BATCH_ROWS, "bytes": conf.BATCH_BYTES}
    with connections[using].cursor() as cursor:
        cursor.execute(RECORD_UNTRIED, values)
        return [pk for (pks,) in cursor.fetchall() for pk in pks]


def _take_tried(shard: int, limit: int | None, using: str) -> list[int]:
    values = {"shard": shard, "limit": limit or pillarbox_settings().BATCH_ROWS}
    with connections[using].cursor() as cursor:
        cursor.execute(TRIED, values)
        if batch := batch_of(cursor.fetchall()):
            cursor.execute(RECORD, [shard, batch])
    return batch
