"""The backlog, its age, and the failed rows: figures for the dashboard, `stats` and metrics."""

from dataclasses import dataclass

from django.db import connections

from ..conditions import PUBLISHABLE, UNRENDERED
from ..models import OUTBOX, SHARDS
from ..types.live_models import object_type_names

#: Counting stops at this many rows of a shard, and this many failed rows, so that it stays cheap when the
#: backlog is large.
MOST_OF_SHARD, MOST_FAILED = 100_000, 1_000_000
#: Rows of an unknown type soon are the oldest of their shard, so a look at this many rows finds them.
OLDEST_OF_SHARD = 1000

# Each part uses a partial index as small as the set that it counts. The age is that of the rows that
# workers would take first.
# Rows behind a row whose rendering failed wait for its next attempt, and have no offset until then.
WAITING = f"""
WITH unrenderable AS MATERIALIZED (
    SELECT stream, count(*) FILTER (WHERE attempts > 0) AS retrying, max(available_at) AS due_at
    FROM generate_series(0, {SHARDS - 1}) AS each (shard) CROSS JOIN LATERAL (
        SELECT stream, claims, attempts, available_at FROM {OUTBOX} AS row
        WHERE row.shard = each.shard AND {UNRENDERED.sql} LIMIT %(most)s
    ) AS unrendered WHERE claims > 0 GROUP BY stream
)
SELECT sum(unnumbered), sum(untried), sum(tried),
    sum(retrying) + coalesce((SELECT sum(retrying) FROM unrenderable), 0),
    bool_or(greatest(unnumbered, untried, tried) = %(most)s),
    extract(epoch FROM statement_timestamp()
        - least(min(fresh.created_at), min(first.created_at), min(tried_at)))::float,
    extract(epoch FROM statement_timestamp()
        - least(min(free.created_at), min(due.created_at), min(due_at),
            (SELECT min(due_at) FROM unrenderable WHERE due_at <= statement_timestamp())))::float
FROM generate_series(0, {SHARDS - 1}) AS each (shard)
CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND "offset" IS NULL LIMIT %(most)s
    ) AS counted
) AS some_unnumbered (unnumbered)
CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PUBLISHABLE.sql} AND claims = 0
        LIMIT %(most)s
    ) AS counted
) AS some_untried (untried)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(rows), 0), coalesce(sum(failing), 0), min(oldest_at),
        min(available_at) FILTER (WHERE available_at <= statement_timestamp())
    FROM (
        SELECT count(*), count(*) FILTER (WHERE attempts > 0), min(created_at), max(available_at)
        FROM (
            SELECT * FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PUBLISHABLE.sql} AND claims > 0
            LIMIT %(most)s
        ) AS counted GROUP BY stream
    ) AS streams (rows, failing, oldest_at, available_at)
) AS some_tried (tried, retrying, tried_at, due_at)
LEFT JOIN LATERAL (
    SELECT created_at FROM {OUTBOX} AS row WHERE row.shard = each.shard AND "offset" IS NULL
    ORDER BY id LIMIT 1
) AS fresh ON true
LEFT JOIN LATERAL (
    SELECT created_at FROM {OUTBOX} AS row WHERE row.shard = each.shard AND "offset" IS NULL
    AND stream NOT IN (SELECT stream FROM unrenderable)
    AND NOT ({UNRENDERED.sql} AND object_type <> ALL(%(types)s))
    ORDER BY id LIMIT 1
) AS free ON true
LEFT JOIN LATERAL (
    SELECT created_at FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PUBLISHABLE.sql} AND claims = 0
    ORDER BY numbering, "offset", id LIMIT 1
) AS first ON true
LEFT JOIN LATERAL (
    SELECT created_at FROM {OUTBOX} AS row WHERE row.shard = each.shard AND {PUBLISHABLE.sql} AND claims = 0
    AND NOT EXISTS (
        SELECT FROM {OUTBOX} AS tried WHERE tried.shard = row.shard AND tried.stream = row.stream
        AND {PUBLISHABLE.sql_of("tried")} AND tried.claims > 0
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


UNKNOWN = f"""
SELECT object_type, count(*), extract(epoch FROM statement_timestamp() - min(created_at))::float
FROM generate_series(0, {SHARDS - 1}) AS each (shard) CROSS JOIN LATERAL (
    SELECT object_type, created_at FROM {OUTBOX} AS row
    WHERE row.shard = each.shard AND {UNRENDERED.sql} ORDER BY id LIMIT %(most)s
) AS waiting
WHERE object_type <> ALL(%(types)s) GROUP BY object_type ORDER BY object_type
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unknown:
    """Waiting rows of an object type that isn't registered in this process, which can't render them."""

    object_type: str
    rows: int
    #: The age of the oldest.
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """The pending and failed rows, in numbers. Ages are in seconds, by the database's clock."""

    #: Rows that are neither published nor failed.
    pending: int
    #: Pending rows without an offset.
    unnumbered: int
    #: Pending rows whose rendering or publishing failed; they wait for their next attempt.
    retrying: int
    #: True if counting stopped at `MOST_OF_SHARD`, so that more rows are pending.
    is_more: bool
    #: The age of the oldest pending row; None if there is none.
    oldest_seconds: float | None
    #: How long the oldest due row has been due; None if no row is due. Unlike `oldest_seconds` it ignores
    #: rows that wait for another attempt, rows behind them in their streams, and rows of unknown types.
    lag_seconds: float | None
    #: Failed rows, up to `MOST_FAILED`; those not replayed yet; and those of these that failed in the
    #: last 24 hours.
    failed: int
    unreplayed: int
    failed_lately: int
    #: Waiting rows of types that this process doesn't know.
    unknown: tuple[Unknown, ...] = ()


def backlog(*, using: str) -> Backlog:
    """Return the backlog. The cost grows with the rows counted, not with the rows published."""
    with connections[using].cursor() as cursor:
        cursor.execute(WAITING, {"most": MOST_OF_SHARD, "types": object_type_names()})
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
        unknown=_unknown(using),
    )


def _unknown(using: str) -> tuple[Unknown, ...]:
    """Return the waiting rows of unknown types; count them fully only if a first look finds some."""
    found: list[tuple[str, int, float]] = []
    with connections[using].cursor() as cursor:
        for most in (OLDEST_OF_SHARD, MOST_OF_SHARD):
            cursor.execute(UNKNOWN, {"most": most, "types": object_type_names()})
            if not (found := cursor.fetchall()):
                break
    return tuple(Unknown(object_type=name, rows=n, seconds=age) for name, n, age in found)
