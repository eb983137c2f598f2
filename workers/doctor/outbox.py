"""The outbox itself: what waits, what failed, what died with its worker, what should be gone."""

from django.db import DEFAULT_DB_ALIAS, connection

from apps.outbox.backlog import backlog
from apps.outbox.causes import causes
from apps.outbox.claim import DEADLY
from apps.outbox.conf import outbox_settings
from apps.outbox.health import LONG_SECONDS
from apps.outbox.models import Claim, NotificationOutbox

from .findings import Answer, Finding, unless

#: What could be published, and isn't for so long, is more than a nuisance.
GRAVE_LAG_SECONDS = 60.0
#: So many causes of failures are named.
MOST_CAUSES = 3
#: A claim is settled within a second, and one that a dead worker left is seen to within two.
CLAIM_SECONDS = 30.0
#: Rows past their retention are pruned each ten minutes, if somebody is there.
PRUNE_SECONDS = 3600.0

OUTBOX, CLAIM = NotificationOutbox._meta.db_table, Claim._meta.db_table
LEFT = f"""
SELECT shard, cardinality(rows), extract(epoch FROM clock_timestamp() - claimed_at) FROM {CLAIM}
WHERE rows <> '{{}}' AND claimed_at < clock_timestamp() - make_interval(secs => %s) ORDER BY shard
"""
DEADLY_ROWS = f"""
SELECT id, claims - attempts, event FROM {OUTBOX}
WHERE "offset" IS NOT NULL AND published_at IS NULL AND failed_at IS NULL AND claims > 0
AND claims - attempts >= %s ORDER BY claims - attempts DESC, id LIMIT 3
"""
OLDEST = f"""
SELECT extract(epoch FROM clock_timestamp() - min(published_at)) FROM {OUTBOX} WHERE published_at IS NOT NULL
"""


def keeps_up() -> Answer:
    """What could be published is, within seconds."""
    found = backlog(using=DEFAULT_DB_ALIAS)
    lag, more = found.lag_seconds or 0.0, "more than " if found.is_more else ""
    seen = f"{more}{found.pending} waiting, {found.retrying} of them for another attempt"
    if lag <= LONG_SECONDS:
        return seen
    return [
        Finding(
            what=f"Rows have been waiting to be published for {lag:.0f} seconds: {seen}.",
            why="Sockets read them from the database, up to POSITION_CHECK_SECONDS late.",
            cure="If nothing else is found here, there is more to do than the workers can: add some "
            "(WORKER_CONCURRENCY, or more hosts). Else begin with what else is found.",
            is_grave=lag > GRAVE_LAG_SECONDS,
        )
    ]


def has_no_failed_rows() -> Answer:
    """No row has failed that nobody has replayed."""
    found = backlog(using=DEFAULT_DB_ALIAS)
    if not found.unreplayed:
        return f"none ({found.failed} were replayed)" if found.failed else "none"
    named = [
        f"{cause.unreplayed} of {cause.error_type} since {cause.first_at:%Y-%m-%d}"
        for cause in causes(using=DEFAULT_DB_ALIAS, most=MOST_CAUSES)
        if cause.unreplayed
    ]
    return [
        Finding(
            what=f"{found.unreplayed} rows failed, {found.failed_lately} of them in the last day: "
            f"{', '.join(named)}.",
            why="Nobody was sent them; subscribers were told that they were skipped.",
            cure="See their causes in the admin, under Notifications; when those are mended, replay the rows "
            "there, or by `manage.py outbox replay`.",
        )
    ]


def has_no_orphans() -> Answer:
    """What dead workers had in hand has been seen to, and no row kills its workers."""
    with connection.cursor() as cursor:
        cursor.execute(LEFT, [CLAIM_SECONDS])
        findings = [_left(*row) for row in cursor.fetchall()]
        cursor.execute(DEADLY_ROWS, [DEADLY])
        findings += [_kills(*row) for row in cursor.fetchall()]
    return unless(findings, "nothing left by dead workers")


def is_pruned() -> Answer:
    """Published rows past their retention are deleted, and not much later."""
    retention = outbox_settings().RETENTION_SECONDS
    with connection.cursor() as cursor:
        cursor.execute(OLDEST)
        oldest = float(cursor.fetchone()[0] or 0)
    seen = f"the oldest published row is {_days(oldest)} old, they are kept for {_days(retention)}"
    if oldest <= retention + PRUNE_SECONDS:
        return seen
    return [
        Finding(
            what=f"Nobody prunes: {seen}.",
            why="The table grows, and its backups with it.",
            cure="See that beat runs, and what the workers' logs say of outbox.prune. "
            "`manage.py outbox prune` does it now.",
        )
    ]


def _left(shard: int, rows: int, seconds: float) -> Finding:
    return Finding(
        what=f"Shard {shard} has had {rows} rows in hand for {seconds:.0f} seconds.",
        why="A worker died with them, or hangs, and no other has looked at the shard since.",
        cure="Start the workers again; what was in hand is published again, with the same offsets.",
        is_grave=True,
    )


def _kills(pk: int, deaths: int, event: str) -> Finding:
    return Finding(
        what=f"{deaths} workers died with row {pk} ({event}) in hand.",
        why="It delays its stream, and after some more deaths it counts as failed.",
        cure="See the workers' logs, and the kernel's for a lack of memory. Nothing is lost meanwhile.",
    )


def _days(seconds: float) -> str:
    return f"{seconds / 86400:.1f} days"
