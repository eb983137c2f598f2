"""Checks of PostgreSQL: it is reachable, safely configured and migrated, and its clock agrees."""

import time

from django.db import DEFAULT_DB_ALIAS, connection, transaction

from ...database import STATEMENT_ERRORS
from ...formats import milliseconds, one_line
from ..schema import unapplied
from .clocks import skew
from .findings import Finding, Outcome, findings_or

#: Statements of the relay and of catch-ups may take a second or two under load.
SHORTEST_TIMEOUT_MS = 5000
#: Missing migrations that are named.
MOST_NAMES = 3

ABOUT = """
SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'
"""
#: Settings that break a promise if they have another value: the value, and the consequence.
PROMISES = {
    "fsync": ("on", "Committed data may be lost or corrupted when the host fails."),
    "full_page_writes": ("on", "Committed data may be corrupted when the host fails."),
    "default_transaction_isolation": (
        "read committed",
        "The relay would number rows from a snapshot older than its lock, and assign offsets twice.",
    ),
}
TIMEOUTS = ("statement_timeout", "transaction_timeout")
# pg_settings has timeouts in milliseconds; 0 means none.
SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"


def is_reachable() -> Outcome:
    """Check that the database can be reached and written."""
    start = time.monotonic()
    try:
        # In a transaction, because some poolers refuse statements outside of one.
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(ABOUT)
            version, is_standby, is_read_only = cursor.fetchone()
    except STATEMENT_ERRORS as error:
        return [_away(error)]
    if is_standby or is_read_only:
        return [_not_writable(is_standby=is_standby)]
    return f"PostgreSQL {version.split()[0]}, connected in {milliseconds(time.monotonic() - start)}"


def has_safe_settings() -> Outcome:
    """Check the settings on which the guarantees rest, and that no timeout is too short."""
    with connection.cursor() as cursor:
        cursor.execute(SETTINGS, [[*PROMISES, *TIMEOUTS]])
        found = dict(cursor.fetchall())
    broken = [
        Finding(
            what=f"PostgreSQL's {name} is {found[name]!r}.",
            why=why,
            cure=f"Set {name} to {wanted!r}: in postgresql.conf, or where pg_settings.source says.",
            is_grave=True,
        )
        for name, (wanted, why) in PROMISES.items()
        if found[name] != wanted
    ]
    short = [
        Finding(
            what=f"PostgreSQL cancels work that takes longer than {found[name]} ms ({name}).",
            why="Under load the relay needs a second or two; cancelled work restarts, and never completes.",
            cure=f"ALTER ROLE … SET {name} = 0, or at least {SHORTEST_TIMEOUT_MS}.",
        )
        for name in TIMEOUTS
        if 0 < int(found.get(name, 0)) < SHORTEST_TIMEOUT_MS
    ]
    return findings_or(broken + short, "fsync, read committed, no short timeouts")


def is_migrated() -> Outcome:
    """Check that all migrations are applied."""
    missing = unapplied(using=DEFAULT_DB_ALIAS)
    if not missing:
        return "all applied"
    names = ", ".join(f"{app}.{name}" for app, name in missing[:MOST_NAMES])
    more = f" and {len(missing) - MOST_NAMES} more" if len(missing) > MOST_NAMES else ""
    return [
        Finding(
            what=f"Not applied: {names}{more}.",
            why="The code expects tables and columns that the database doesn't have.",
            cure="Run `manage.py migrate`, then restart the processes.",
            is_grave=True,
        )
    ]


def clock_agrees() -> Outcome:
    """Check that the clocks of this host and of the database agree."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT")  # the first statement also connects
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        there = float(cursor.fetchone()[0])
    return skew("PostgreSQL", before, there, time.time())


def _away(error: Exception) -> Finding:
    to = connection.settings_dict
    where = f"{to['USER'] or '(no user)'} at {to['HOST'] or to['OPTIONS'].get('host', 'the local socket')}"
    return Finding(
        what=f"PostgreSQL can't be used: {one_line(error)}",
        why="Without it, nothing can be saved, published or read.",
        cure=f"Start it, or correct the settings: they name the database {to['NAME']!r}, as {where}.",
        is_grave=True,
    )


def _not_writable(*, is_standby: bool) -> Finding:
    return Finding(
        what="PostgreSQL is a standby." if is_standby else "PostgreSQL is read-only for this role.",
        why="No row can be saved or numbered on it.",
        cure="Let the settings name the primary."
        if is_standby
        else "ALTER ROLE … SET default_transaction_read_only = off, or of the database.",
        is_grave=True,
    )
