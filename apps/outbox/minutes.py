"""
What each minute brought, counted once it is over: a chart needs no history of five million rows.

Minutes are UTC's, and the database's clock says when they are over. Rows are captured in the order of their
primary keys, but for statements that run side by side, so that when one was captured is found by halving
the keys, without an index.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections

from .models import Minute, NotificationOutbox

#: So far back missing minutes are counted; and so long they are kept.
BACK, KEPT = timedelta(days=1), timedelta(days=8)
#: Rates are those of the last seconds, counted up to so many rows.
RATE_SECONDS, MOST_OF_RATE = 10.0, 100_000

OUTBOX, MINUTE = NotificationOutbox._meta.db_table, Minute._meta.db_table

# The youngest is counted once more: transactions that were open when it ended have committed since.
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
#: The least primary key from which on rows were captured at a moment, or later.
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
INSERT INTO {MINUTE} AS known (starts_at, captured, published, failed, lag)
SELECT %(starts_at)s,
    (
        SELECT count(*) FROM {OUTBOX}
        WHERE id >= (SELECT first FROM ({SINCE}) AS since)
        AND id < (SELECT first FROM ({UNTIL}) AS until)
    ),
    published,
    (SELECT count(*) FROM {OUTBOX} WHERE failed_at >= %(starts_at)s AND failed_at < %(ends_at)s),
    lag
FROM (
    SELECT count(*), coalesce(extract(epoch FROM max(published_at - created_at)), 0)
    FROM {OUTBOX} WHERE published_at >= %(starts_at)s AND published_at < %(ends_at)s
) AS settled (published, lag)
ON CONFLICT (starts_at) DO UPDATE SET captured = EXCLUDED.captured, published = EXCLUDED.published,
    failed = EXCLUDED.failed, lag = EXCLUDED.lag
"""
BROUGHT = f"""
SELECT bucket, count(minute.starts_at), coalesce(sum(captured), 0)::int, coalesce(sum(published), 0)::int,
    coalesce(sum(failed), 0)::int, coalesce(max(lag), 0)
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
    (
        SELECT count(*) FROM (
            SELECT FROM {OUTBOX}
            WHERE published_at >= statement_timestamp() - make_interval(secs => %(seconds)s)
            LIMIT %(most)s
        ) AS published
    )
"""
RATES = RATES.format(
    since=FIRST_SINCE.format(moment="statement_timestamp() - make_interval(secs => %(seconds)s)")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """How many minutes were counted, and whether some are left because the time was over."""

    minutes: int
    is_cut_short: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """What some minutes brought together: rows, and the longest lag in seconds."""

    starts_at: datetime
    #: How many of its minutes were counted: with none, the rest is not known.
    counted: int
    captured: int
    published: int
    failed: int
    lag: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Rows captured and published in a second, on the average of the last `RATE_SECONDS`."""

    captured: float
    published: float


def count_minutes(*, using: str, seconds: float = float("inf")) -> Counted:
    """
    Count the minutes that are over: those of the last day that nobody counted, and the youngest again.

    Each is one statement of its own, which derives it from the rows: who does it twice, or beside another,
    writes the same. Minutes older than `KEPT` are dropped.
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


def brought(*, buckets: int, minutes: int, using: str) -> list[Bucket]:
    """
    Return the last so many buckets of so many minutes, oldest first; the last one may not be full yet.

    They end with the youngest minute that was counted, or three minutes ago if counting is behind.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(BROUGHT, {"buckets": buckets, "minutes": minutes})
        found = cursor.fetchall()
    return [Bucket(**dict(zip(Bucket.__slots__, columns, strict=True))) for columns in found]


def rates(*, using: str) -> Rates:
    """Return how fast rows come and go."""
    with connections[using].cursor() as cursor:
        cursor.execute(RATES, {"seconds": RATE_SECONDS, "most": MOST_OF_RATE})
        captured, published = cursor.fetchone()
    return Rates(captured=captured / RATE_SECONDS, published=published / RATE_SECONDS)
