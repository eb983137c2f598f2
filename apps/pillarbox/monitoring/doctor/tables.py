"""Checks of the outbox's tables: their indexes and constraints, and their vacuuming."""

from django.db import DEFAULT_DB_ALIAS, connection

from ...formats import age, number
from ...models import CLAIMS, OUTBOX, RENDERINGS, STREAMS
from ..schema import defects
from .findings import Finding, Outcome, findings_or

TABLES = [OUTBOX, STREAMS, CLAIMS, RENDERINGS]
#: Dead rows at which autovacuum starts, by the table's settings, and the multiple of it that is reported.
THRESHOLD, SCALE, MANY_TIMES = 2000, 0.01, 10
#: Longest acceptable duration of an idle transaction, and of a working one.
IDLE_SECONDS, WORKING_SECONDS = 60.0, 600.0

IS_ON = "SELECT current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on'"
TURNED_OFF = """
SELECT relname FROM pg_class WHERE oid = ANY(%s::regclass[]::oid[])
AND lower(array_to_string(reloptions, ',')) ~ 'autovacuum_enabled=(f|of|0|n)'
"""
DEAD = """
SELECT n_live_tup, n_dead_tup, to_char(greatest(last_autovacuum, last_vacuum), 'YYYY-MM-DD HH24:MI:SS TZ')
FROM pg_stat_all_tables WHERE relid = %s::regclass
"""
# A prepared transaction has no session, so it stays until it is ended explicitly.
OPEN = """
SELECT format('process %%s (%%s)', pid, coalesce(nullif(application_name, ''), usename)), state,
    extract(epoch FROM clock_timestamp() - CASE state WHEN 'active' THEN xact_start ELSE state_change END),
    format('SELECT pg_terminate_backend(%%s)', pid)
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
AND (state LIKE 'idle in transaction%%' AND state_change < clock_timestamp() - make_interval(secs => %(idle)s)
    OR state = 'active' AND xact_start < clock_timestamp() - make_interval(secs => %(working)s))
UNION ALL
SELECT format('%%L', gid), 'prepared', extract(epoch FROM clock_timestamp() - prepared),
    format('ROLLBACK PREPARED %%L', gid)
FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - make_interval(secs => %(idle)s)
"""
SLOTS = """
SELECT slot_name, pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))
FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL
"""


def are_complete() -> Outcome:
    """Check that every index and constraint of the models exists and is valid."""
    findings = [
        Finding(what=defect.what, why=defect.why, cure=defect.cure, is_grave=defect.is_grave)
        for defect in defects(using=DEFAULT_DB_ALIAS)
    ]
    return findings_or(findings, "all indexes and constraints exist and are valid")


def are_vacuumed() -> Outcome:
    """Check that autovacuum is on for the outbox, and keeps up."""
    with connection.cursor() as cursor:
        cursor.execute(IS_ON)
        (is_on,) = cursor.fetchone()
        cursor.execute(TURNED_OFF, [TABLES])
        off = [name for (name,) in cursor.fetchall()]
        cursor.execute(DEAD, [OUTBOX])
        live, dead, at = cursor.fetchone()
    if not is_on or off:
        return [_not_vacuumed(off)]
    if dead > MANY_TIMES * (THRESHOLD + SCALE * live):
        return [_lags(dead, at)]
    rows = f"{number(dead)} dead rows of {number(live + dead)}"
    return f"{rows}, last vacuumed {at or 'never: too few changes'}"


def no_transaction_or_slot_is_stale(
    idle: float = IDLE_SECONDS, working: float = WORKING_SECONDS
) -> Outcome:
    """Check that no old transaction keeps dead rows, and that no unused replication slot keeps WAL."""
    with connection.cursor() as cursor:
        cursor.execute(OPEN, {"idle": idle, "working": working})
        findings = [_open(*row) for row in cursor.fetchall()]
        cursor.execute(SLOTS)
        findings += [_unused(*row) for row in cursor.fetchall()]
    return findings_or(findings, "no old transactions, no unused replication slots")


def _not_vacuumed(off: list[str]) -> Finding:
    return Finding(
        what=" for ".join(["Autovacuum is off", *([", ".join(off)] if off else [])]) + ".",
        why="Each row is written three times, so dead rows fill the small indexes that every claim scans.",
        cure=" ".join(f"ALTER TABLE {name} RESET (autovacuum_enabled);" for name in off)
        or "Set autovacuum and track_counts to on, in postgresql.conf.",
    )


def _lags(dead: int, at: str | None) -> Finding:
    return Finding(
        what=f"The outbox has {number(dead)} dead rows, and was last vacuumed {at or 'never'}.",
        why="Each claim scans them, so publishing gets slower and slower.",
        cure=f"VACUUM (VERBOSE) {OUTBOX}; if it removes little, its output says why.",
    )


def _open(backend: str, state: str, seconds: float, ending: str) -> Finding:
    return Finding(
        what=f"A transaction has been {state} for {age(seconds)}: {backend}.",
        why="It may hold locks, and keeps PostgreSQL from removing newer dead rows: claims get slower.",
        cure=f"Find out what it is. If it isn't needed: {ending}. "
        "idle_in_transaction_session_timeout prevents idle ones.",
    )


def _unused(name: str, size: str) -> Finding:
    return Finding(
        what=f"Replication slot {name!r} is unused, and keeps {size} of WAL.",
        why="The WAL grows until the disk is full, and then nothing can be saved.",
        cure=f"Start its replica, or SELECT pg_drop_replication_slot('{name}').",
    )
