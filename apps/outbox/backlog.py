"""How much waits, for how long, and how much failed: what operators, `stats` and metrics are told."""

from dataclasses import dataclass

from django.db import connections

from .models import SHARDS, NotificationOutbox

#: Counting ends at so many rows of a shard, and so many failed ones: it must be cheap also, and
#: above all, when much waits.
MOST_OF_SHARD, MOST_FAILED = 100_000, 1_000_000

OUTBOX = NotificationOutbox._meta.db_table
PENDING = '"offset" IS NOT NULL AND published_at IS NULL AND failed_at IS NULL'
IS_TRIED = (
    'tried."offset" IS NOT NULL AND tried.published_at IS NULL AND tried.failed_at IS NULL'
    " AND tried.claims > 0"
)

# Each part goes by an index as small as what it counts. The age of what waits is that of the rows
# that would be taken first.
WAITING = f"""
SELECT sum(unnumbered), sum(untried), sum(tried), sum(retrying),
    bool_or(greatest(unnumbered, untried, tried) = %(most)s),
    extract(epoch FROM statement_timestamp()
        - least(min(fresh.created_at), min(first.created_at), min(tried_at)))::float,
    extract(epoch FROM statement_timestamp()
        - least(min(fresh.created_at), min(due.created_at), min(due_at)))::float
FROM generate_series(0, {SHARDS - 1}) AS each (shard)
CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND "offset" IS NULL LIMIT %(most)s
    ) AS counted
) AS some_unnumbered (unnumbered)
CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PENDING} AND claims = 0
        LIMIT %(most)s
    ) AS counted
) AS some_untried (untried)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(rows), 0), coalesce(sum(failing), 0), min(oldest_at),
        min(available_at) FILTER (WHERE available_at <= statement_timestamp())
    FROM (
        SELECT count(*), count(*) FILTER (WHERE attempts > 0), min(created_at), max(available_at)
        FROM (
            SELECT * FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PENDING} AND claims > 0
            LIMIT %(most)s
        ) AS counted GROUP BY stream
    ) AS streams (rows, failing, oldest_at, available_at)
) AS some_tried (tried, retrying, tried_at, due_at)
LEFT JOIN LATERAL (
    SELECT created_at FROM {OUTBOX} AS row WHERE row.shard = each.shard AND "offset" IS NULL
    ORDER BY id LIMIT 1
) AS fresh ON true
LEFT JOIN LATERAL (
    SELECT created_at FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PENDING} AND claims = 0
    ORDER BY numbering, "offset", id LIMIT 1
) AS first ON true
LEFT JOIN LATERAL (
    SELECT created_at FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PENDING} AND claims = 0
    AND NOT EXISTS (
        SELECT FROM {OUTBOX} AS tried WHERE tried.shard = row.shard AND tried.stream = row.stream
        AND {IS_TRIED}
    )
    ORDER BY numbering, "offset", id LIMIT 1
) AS due ON true
"""
FAILED = f"""
SELECT count(*), count(*) FILTER (WHERE replayed_at IS NULL),
    count(*) FILTER (
        WHERE replayed_at IS NULL AND failed_at > statement_timestamp() - interval '1 day'
    )
FROM (
    SELECT failed_at, replayed_at FROM {OUTBOX} WHERE failed_at IS NOT NULL LIMIT {MOST_FAILED}
) AS failed
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """What is not done, in rows and seconds. Ages are the database's, to the millisecond."""

    #: Rows that are neither published nor failed.
    pending: int
    #: Those of them that have no offset yet.
    unnumbered: int
    #: Those of them whose publishing failed at least once: they wait for their next attempt.
    retrying: int
    #: Whether more are pending: counting ended at `MOST_OF_SHARD`.
    is_more: bool
    #: The age of the oldest pending row; None if there is none.
    oldest_seconds: float | None
    #: For how long some row could have been published; None if none can be now. Other than the age, it
    #: leaves out who waits for another attempt, and who waits behind such a row in its stream.
    lag_seconds: float | None
    #: Failed rows, up to `MOST_FAILED`; those that nobody replayed; those of these that failed in
    #: the last 24 hours.
    failed: int
    unreplayed: int
    failed_lately: int


def backlog(*, using: str) -> Backlog:
    """Return what is not done. It costs milliseconds, and time for what is counted, but none for old rows."""
    with connections[using].cursor() as cursor:
        cursor.execute(WAITING, {"most": MOST_OF_SHARD})
        unnumbered, untried, tried, retrying, is_more, oldest, lag = cursor.fetchone()
        cursor.execute(FAILED)
        failed, unreplayed, failed_lately = cursor.fetchone()
    return Backlog(
        pending=int(unnumbered + untried + tried),
        unnumbered=int(unnumbered),
        retrying=int(retrying),
        is_more=is_more,
        oldest_seconds=oldest,
        lag_seconds=lag,
        failed=failed,
        unreplayed=unreplayed,
        failed_lately=failed_lately,
    )
