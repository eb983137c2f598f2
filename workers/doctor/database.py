"""PostgreSQL: is it there, does it keep its word, is there room for who wants to connect."""

import time

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor

from apps.outbox.instances import known
from apps.realtime.conf import realtime_settings

from .clocks import skew
from .findings import Answer, Finding, unless

#: Statements of the relay and of catch-ups may take a second or two under load.
SHORTEST_TIMEOUT_MS = 5000
#: The share of the connections that may be in use.
CROWDED = 0.8
#: Threads that have a connection: a worker's child and a Daphne, each with its reporter's; of a
#: Daphne besides its sockets' DATABASE_THREADS also those of its rounds, and asgiref's.
WORKER, DAPHNE = 2, 4

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
# All that a role without privileges sees of others is that they are there.
CONNECTIONS = """
SELECT count(*) FILTER (WHERE usesysid IS NOT NULL), least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
    (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
) FROM pg_stat_activity
"""


def is_there() -> Answer:
    """The database can be reached, and written."""
    start = time.monotonic()
    try:
        with connection.cursor() as cursor:
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


def has_room() -> Answer:
    """There are connections for all that may want one."""
    with connection.cursor() as cursor:
        cursor.execute(CONNECTIONS)
        used, most = cursor.fetchone()
    wanted = sum(_threads(each.kind) for each in known(using=DEFAULT_DB_ALIAS) if each.is_alive)
    crowded, short = used > most * CROWDED, wanted > most
    seen = f"{used} of {most} in use; the processes that report may want {wanted}"
    if not (crowded or short):
        return seen
    return [
        Finding(
            what=f"Connections: {seen}.",
            why="Who gets none can't save, publish or read back until somebody leaves.",
            cure="Raise max_connections (or the limit of the role or database), run fewer processes, or put "
            "PgBouncer in between (config/DEPLOYMENT.md).",
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


def _threads(kind: str) -> int:
    return {"worker": WORKER, "daphne": DAPHNE + realtime_settings().DATABASE_THREADS}.get(kind, 1)


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
