"""PostgreSQL: is it there, does it keep its word, is there room for who wants to connect."""

import time

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from .clocks import skew
from .findings import Answer, Finding, unless

#: Statements of the relay and of catch-ups may take a second or two under load.
SHORTEST_TIMEOUT_MS = 5000

ABOUT = """
SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'
"""
#: Settings that would break a promise: what they must be, and which promise it is.
PROMISES = {
    "fsync": ("on", "What is committed is lost, or garbled, when the host fails."),
    "full_page_writes": ("on", "What is committed may be garbled when the host fails."),
    "default_transaction_isolation": (
        "read committed",
        "The relay would number from a snapshot that is older than its lock: offsets break.",
    ),
}
TIMEOUTS = ("statement_timeout", "transaction_timeout")
# In milliseconds, as pg_settings has them; 0 is none.
SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"


def is_there() -> Answer:
    """The database can be reached, and written."""
    start = time.monotonic()
    try:
        # In a transaction: there are poolers that allow none.
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(ABOUT)
            version, is_standby, is_read_only = cursor.fetchone()
    except (DatabaseError, InterfaceError) as error:
        return [_away(error)]
    if is_standby or is_read_only:
        return [_not_writable(is_standby=is_standby)]
    return (
        f"PostgreSQL {version.split()[0]}, connected in {(time.monotonic() - start) * 1000:.0f} ms"
    )


def keeps_its_word() -> Answer:
    """Its settings are those that the guarantees rest on."""
    with connection.cursor() as cursor:
        cursor.execute(SETTINGS, [[*PROMISES, *TIMEOUTS]])
        found = dict(cursor.fetchall())
    broken = [
        Finding(
            what=f"PostgreSQL's {name} is {found[name]!r}.",
            why=why,
            cure=f"Set {name} to {wanted!r}: in postgresql.conf, or wherever pg_settings.source says.",
            is_grave=True,
        )
        for name, (wanted, why) in PROMISES.items()
        if found[name] != wanted
    ]
    short = [
        Finding(
            what=f"PostgreSQL ends what takes longer than {found[name]} ms ({name}).",
            why="Under load the relay needs a second or two; what is cut off begins anew, for ever.",
            cure=f"ALTER ROLE … SET {name} = 0, or at least {SHORTEST_TIMEOUT_MS}.",
        )
        for name in TIMEOUTS
        if 0 < int(found.get(name, 0)) < SHORTEST_TIMEOUT_MS
    ]
    return unless(broken + short, "fsync, read committed, no short timeouts")


def is_migrated() -> Answer:
    """All migrations are applied."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return "all applied"
    names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:3])
    more = f" and {len(plan) - 3} more" if len(plan) > 3 else ""  # noqa: PLR2004  # as many as are named
    return [
        Finding(
            what=f"Not applied: {names}{more}.",
            why="The code expects tables and columns that the database doesn't have.",
            cure="Run `manage.py migrate`, then start the processes again.",
            is_grave=True,
        )
    ]


def agrees_on_the_time() -> Answer:
    """The clocks of this host and of the database agree."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT")  # the first statement also connects
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        there = float(cursor.fetchone()[0])
    return skew("PostgreSQL", before, there, time.time())


def _away(error: Exception) -> Finding:
    to = connection.settings_dict
    where = f"{to['USER'] or '(nobody)'} at {to['HOST'] or to['OPTIONS'].get('host', 'the local socket')}"
    return Finding(
        what=f"PostgreSQL can't be used: {' '.join(str(error).split())}",
        why="Nothing can be saved, published or read back without it.",
        cure=f"Start it, or correct DATABASE_URL: it names the database {to['NAME']!r}, as {where}.",
        is_grave=True,
    )


def _not_writable(*, is_standby: bool) -> Finding:
    return Finding(
        what="PostgreSQL is a standby." if is_standby else "PostgreSQL is read-only for this role.",
        why="Nothing can be saved or numbered there.",
        cure="Let DATABASE_URL name the primary."
        if is_standby
        else "ALTER ROLE … SET default_transaction_read_only = off, or of the database.",
        is_grave=True,
    )
