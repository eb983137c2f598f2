"""The outbox's tables: their indexes, and whether PostgreSQL can keep them small."""

from django.db import DEFAULT_DB_ALIAS, connection

from apps.outbox.models import Claim, NotificationOutbox, Stream
from apps.outbox.schema import defects

from .findings import Answer, Finding, unless

TABLES = [model._meta.db_table for model in (NotificationOutbox, Stream, Claim)]
#: Dead rows that autovacuum collects, by the table's settings; so many times more are a sign.
THRESHOLD, SCALE, MANY_TIMES = 2000, 0.01, 10
#: A transaction that does nothing may be open for so long, and one that works.
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
# A prepared transaction is nobody's, and stays until somebody ends it.
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


def are_whole() -> Answer:
    """Every index and constraint of the models is there, and valid."""
    findings = [
        Finding(what=defect.what, why=defect.why, cure=defect.cure, is_grave=defect.is_grave)
        for defect in defects(using=DEFAULT_DB_ALIAS)
    ]
    return unless(findings, "all indexes and constraints are there, and valid")


def are_vacuumed() -> Answer:
    """Autovacuum is on for the outbox, and keeps up."""
    with connection.cursor() as cursor:
        cursor.execute(IS_ON)
        (is_on,) = cursor.fetchone()
        cursor.execute(TURNED_OFF, [TABLES])
        off = [name for (name,) in cursor.fetchall()]
        cursor.execute(DEAD, [TABLES[0]])
        live, dead, at = cursor.fetchone()
    if not is_on or off:
        return [_not_vacuumed(off)]
    if dead > MANY_TIMES * (THRESHOLD + SCALE * live):
        return [_lags(dead, at)]
    return f"{dead} dead rows of {live + dead}, last vacuumed {at or 'never: too few changes'}"


def are_not_held_back(idle: float = IDLE_SECONDS, working: float = WORKING_SECONDS) -> Answer:
    """Nothing keeps PostgreSQL from removing dead rows: old transactions, replication slots of nobody."""
    with connection.cursor() as cursor:
        cursor.execute(OPEN, {"idle": idle, "working": working})
        findings = [_open(*row) for row in cursor.fetchall()]
        cursor.execute(SLOTS)
        findings += [_unused(*row) for row in cursor.fetchall()]
    return unless(findings, "no old transactions, no unused replication slots")


def _not_vacuumed(off: list[str]) -> Finding:
    return Finding(
        what=" for ".join(["Autovacuum is off", *([", ".join(off)] if off else [])]) + ".",
        why="Each row is written three times: dead rows pile up in the small indexes that every claim walks.",
        cure=" ".join(f"ALTER TABLE {name} RESET (autovacuum_enabled);" for name in off)
        or "Set autovacuum and track_counts to on, in postgresql.conf.",
    )


def _lags(dead: int, at: str | None) -> Finding:
    return Finding(
        what=f"The outbox has {dead} dead rows, and was last vacuumed {at or 'never'}.",
        why="Each claim walks over them: publishing gets slower and slower.",
        cure=f"VACUUM (VERBOSE) {TABLES[0]}; if it removes little, it says what holds it back.",
    )


def _open(who: str, state: str, seconds: float, ending: str) -> Finding:
    return Finding(
        what=f"A transaction has been {state} for {seconds:.0f} seconds: {who}.",
        why="It may hold locks, and keeps PostgreSQL from removing rows that died since: claims get slower.",
        cure=f"See what it is. If nobody needs it: {ending}. idle_in_transaction_session_timeout ends such.",
    )


def _unused(name: str, size: str) -> Finding:
    return Finding(
        what=f"Replication slot {name!r} is used by nobody, and keeps {size} of WAL.",
        why="The WAL grows until the disk is full, and then nothing can be saved.",
        cure=f"Start the replica that it is for, or SELECT pg_drop_replication_slot('{name}').",
    )
