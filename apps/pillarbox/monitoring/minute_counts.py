"""
Per-minute counts, taken once a minute is over, so that charts need not read millions of rows.

Minutes are in UTC and end by the database's clock. Rows are captured roughly in the order of their primary
keys, so a binary search over the keys finds the first row of a minute without an index on the time.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections

from ..models import OUTBOX, MinuteCounts

#: How far back missing minutes are counted, and how long counts are kept.
BACK, KEPT = timedelta(days=1), timedelta(days=8)
#: The period over which rates are averaged, and the most rows counted for them.
RATE_SECONDS, MOST_OF_RATE = 10.0, 100_000

MINUTE = MinuteCounts._meta.db_table

# The youngest counted minute is counted again: transactions open at its end may have committed since.
UNCOUNTED = f"""
SELECT starts_at FROM generate_series(
    date_trunc('minute', statement_timestamp() - make_interval(secs => %(back)s)),
    statement_timestamp(), interval '1 minute'
) AS minute (starts_at)
WHERE starts_at <= statement_timestamp() - interval '1 minute'
AND starts_at NOT IN (
    SELECT starts_at FROM {MINUTE} WHERE starts_at < (SELECT max(starts_at) FROM {MINUTE})
)
ORDER BY starts_at
"""
#: The smallest primary key of the rows captured at a moment or later.
FIRST_SINCE = f"""
WITH RECURSIVE halving (low, high) AS (
    SELECT min(id), max(id) + 1 FROM {OUTBOX}
    UNION ALL
    SELECT CASE WHEN is_before THEN found.id + 1 ELSE low END,
        CASE WHEN is_before THEN high ELSE middle END
    FROM halving
    CROSS JOIN LATERAL (SELECT low + (high - low) / 2) AS halved (middle)
    CROSS JOIN LATERAL (
        SELECT id, created_at < {{moment}} AS is_before FROM {OUTBOX}
        WHERE id >= middle ORDER BY id LIMIT 1
    ) AS found
    WHERE low < high
)
SELECT high AS first FROM halving WHERE low >= high LIMIT 1
"""
SINCE = FIRST_SINCE.format(moment="%(starts_at)s")
UNTIL = FIRST_SINCE.format(moment="%(ends_at)s")
COUNT = f"""
INSERT INTO {MINUTE} AS known (starts_at, captured, published, obsolete, failed, lag)
SELECT %(starts_at)s,
    (
        SELECT count(*) FROM {OUTBOX}
        WHERE id >= (SELECT first FROM ({SINCE}) AS since)
        AND id < (SELECT first FROM ({UNTIL}) AS until)
    ),
    published, obsolete,
    (SELECT count(*) FROM {OUTBOX} WHERE failed_at >= %(starts_at)s AND failed_at < %(ends_at)s),
    lag
FROM (
    SELECT count(*) FILTER (WHERE obsolete_at IS NULL), count(obsolete_at),
        coalesce(extract(epoch FROM max(published_at - created_at)), 0)
    FROM {OUTBOX} WHERE published_at >= %(starts_at)s AND published_at < %(ends_at)s
) AS settled (published, obsolete, lag)
ON CONFLICT (starts_at) DO UPDATE SET captured = EXCLUDED.captured, published = EXCLUDED.published,
    obsolete = EXCLUDED.obsolete, failed = EXCLUDED.failed, lag = EXCLUDED.lag
"""
COUNTS = f"""
SELECT bucket, count(minute.starts_at), coalesce(sum(captured), 0)::int, coalesce(sum(published), 0)::int,
    coalesce(sum(obsolete), 0)::int, coalesce(sum(failed), 0)::int, coalesce(max(lag), 0)
FROM (
    SELECT date_bin(
        make_interval(mins => %(minutes)s),
        greatest(max(starts_at), date_trunc('minute', statement_timestamp()) - interval '3 minutes'),
        timestamptz '2000-01-01 00:00Z'
    ) FROM {MINUTE}
) AS newest (last)
CROSS JOIN generate_series(
    last - (%(buckets)s - 1) * make_interval(mins => %(minutes)s), last, make_interval(mins => %(minutes)s)
) AS each (bucket)
LEFT JOIN {MINUTE} AS minute
    ON minute.starts_at >= bucket AND minute.starts_at < bucket + make_interval(mins => %(minutes)s)
GROUP BY bucket ORDER BY bucket
"""
DROP = f"DELETE FROM {MINUTE} WHERE starts_at < statement_timestamp() - make_interval(secs => %s)"
RATES = f"""
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM {OUTBOX} WHERE id >= (SELECT first FROM ({{since}}) AS since) LIMIT %(most)s
        ) AS captured
    ),
    count(*) FILTER (WHERE obsolete_at IS NULL), count(obsolete_at)
FROM (
    SELECT obsolete_at FROM {OUTBOX}
    WHERE published_at >= statement_timestamp() - make_interval(secs => %(seconds)s)
    LIMIT %(most)s
) AS settled
"""
RATES = RATES.format(
    since=FIRST_SINCE.format(moment="statement_timestamp() - make_interval(secs => %(seconds)s)")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """The number of minutes counted, and whether the time limit left some uncounted."""

    minutes: int
    is_cut_short: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """The counts of several minutes together, and their longest lag in seconds."""

    starts_at: datetime
    #: How many of its minutes were counted. If 0, the other figures mean nothing.
    counted: int
    captured: int
    published: int
    obsolete: int = 0
    failed: int
    lag: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Rows captured, published and obsolete per second, averaged over the last `RATE_SECONDS`."""

    captured: float
    published: float
    obsolete: float = 0.0

    @property
    def settled(self) -> float:
        """Rows settled per second: published or obsolete."""
        return self.published + self.obsolete


def count_minutes(*, using: str, seconds: float = float("inf")) -> Counted:
    """
    Count the finished minutes of the last day that aren't counted yet, and the youngest one again.

    One statement derives each minute's counts from the rows, so counting twice, or concurrently, gives
    the same result. Counts older than `KEPT` are deleted.
    """
    end, counted = time.monotonic() + seconds, 0
    with connections[using].cursor() as cursor:
        cursor.execute(UNCOUNTED, {"back": BACK.total_seconds()})
        for (starts_at,) in cursor.fetchall():
            if time.monotonic() >= end:
                return Counted(minutes=counted, is_cut_short=True)
            ends_at = starts_at + timedelta(minutes=1)
            cursor.execute(COUNT, {"starts_at": starts_at, "ends_at": ends_at})
            counted += 1
        cursor.execute(DROP, [KEPT.total_seconds()])
    return Counted(minutes=counted, is_cut_short=False)


def counts(*, buckets: int, minutes: int, using: str) -> list[Bucket]:
    """
    Return the last ``buckets`` buckets of ``minutes`` each, oldest first. The last may be incomplete.

    They end with the youngest counted minute, or three minutes ago if counting is behind.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(COUNTS, {"buckets": buckets, "minutes": minutes})
        found = cursor.fetchall()
    return [Bucket(**dict(zip(Bucket.__slots__, columns, strict=True))) for columns in found]


def rates(*, using: str) -> Rates:
    """Return how many rows are captured, published and obsolete per second."""
    with connections[using].cursor() as cursor:
        cursor.execute(RATES, {"seconds": RATE_SECONDS, "most": MOST_OF_RATE})
        captured, published, obsolete = (rows / RATE_SECONDS for rows in cursor.fetchone())
    return Rates(captured=captured, published=published, obsolete=obsolete)
