"""Checks of the outbox that the diagnosis doesn't cover: abandoned claims, and pruning."""

from django.db import connection

from ...conditions import PUBLISHABLE, UNRENDERED
from ...conf import pillarbox_settings
from ...formats import age, days, number
from ...models import CLAIMS, OUTBOX
from ...stream.batch_sizes import DEADLY
from .findings import Finding, Outcome, findings_or

#: A claim is normally settled within a second; a dead worker's is taken over within two.
CLAIM_SECONDS = 30.0
#: Rows past their retention are normally pruned every ten minutes.
UNPRUNED_SECONDS = 3600.0

LEFT = f"""
SELECT shard, cardinality(rows), extract(epoch FROM clock_timestamp() - claimed_at) FROM {CLAIMS}
WHERE rows <> '{{}}' AND claimed_at < clock_timestamp() - make_interval(secs => %s) ORDER BY shard
"""
DEADLY_ROWS = f"""
SELECT id, claims - attempts, event FROM {OUTBOX} WHERE claims - attempts >= %s AND (
    {PUBLISHABLE.sql} AND claims > 0
    OR {UNRENDERED.sql}
) ORDER BY claims - attempts DESC, id LIMIT 3
"""
OLDEST = f"""
SELECT extract(epoch FROM clock_timestamp() - min(published_at)) FROM {OUTBOX} WHERE published_at IS NOT NULL
"""


def has_no_abandoned_claims() -> Outcome:
    """Check that no dead worker's claim is left, and that no row kills its workers."""
    with connection.cursor() as cursor:
        cursor.execute(LEFT, [CLAIM_SECONDS])
        findings = [_left(*row) for row in cursor.fetchall()]
        cursor.execute(DEADLY_ROWS, [DEADLY])
        findings += [_kills(*row) for row in cursor.fetchall()]
    return findings_or(findings, "no abandoned claims")


def is_pruned() -> Outcome:
    """Check that published rows past their retention have been deleted."""
    retention = pillarbox_settings().RETENTION_SECONDS
    with connection.cursor() as cursor:
        cursor.execute(OLDEST)
        oldest = float(cursor.fetchone()[0] or 0)
    seen = f"the oldest published row is {days(oldest)} old, they are kept for {days(retention)}"
    if oldest <= retention + UNPRUNED_SECONDS:
        return seen
    return [
        Finding(
            what=f"Old rows aren't pruned: {seen}.",
            why="The table and its backups grow.",
            cure="Make sure that beat runs, and look for pillarbox.prune in the workers' logs. "
            "`manage.py pillarbox prune` does it now.",
        )
    ]


def _left(shard: int, rows: int, seconds: float) -> Finding:
    return Finding(
        what=f"Shard {shard} has had {number(rows)} claimed rows for {age(seconds)}.",
        why="The worker that claimed them died or hangs, and no other has taken the shard over.",
        cure="Restart the workers. The claimed rows are published again, with the same offsets.",
        is_grave=True,
    )


def _kills(pk: int, deaths: int, event: str) -> Finding:
    return Finding(
        what=f"{deaths} workers died while they had row {pk} ({event}) claimed.",
        why="It delays its stream. After some more deaths it is failed.",
        cure="See the workers' logs, and the kernel's for lack of memory. Nothing is lost meanwhile.",
    )
