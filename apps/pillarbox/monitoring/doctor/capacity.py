"""Checks of capacity: connections to the database, and space on its disk."""

import shutil
from collections.abc import Callable
from pathlib import Path

from django.db import DEFAULT_DB_ALIAS, connection

from ...conf import pillarbox_settings
from ...formats import gigabytes, megabytes, number
from ...models import OUTBOX
from ..processes import known
from ..thresholds import CROWDED
from .findings import Finding, Outcome

#: Connections of a worker's child (its own and its reporter's), and of a Daphne beside its sockets'
#: DATABASE_THREADS (its reporter's, those of its housekeeping, and asgiref's).
WORKER, DAPHNE = 2, 4
#: The share of a disk that should be free.
FREE = 0.1

# A role without privileges sees only that other connections exist.
CONNECTIONS = """
SELECT count(*) FILTER (WHERE usesysid IS NOT NULL), least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
    (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
) FROM pg_stat_activity
"""
# No rows for a role that may not read this setting.
FOLDER = "SELECT setting FROM pg_settings WHERE name = 'data_directory'"
SIZES = "SELECT pg_database_size(current_database()), pg_total_relation_size(%s::regclass)"


def has_connections() -> Outcome:
    """Check that connections are left to use, and that the limit suffices for all processes."""
    with connection.cursor() as cursor:
        cursor.execute(CONNECTIONS)
        used, most = cursor.fetchone()
    wanted = sum(_threads(each.kind) for each in known(using=DEFAULT_DB_ALIAS) if each.is_alive)
    crowded, short = used > most * CROWDED, wanted > most
    seen = f"{number(used)} of {number(most)} in use; the processes that report may want {number(wanted)}"
    if not (crowded or short):
        return seen
    return [
        Finding(
            what=f"Connections: {seen}.",
            why="A process without a connection can't save, publish or read until another one closes.",
            cure="Raise max_connections (or the limit of the role or database), run fewer processes, or use "
            "PgBouncer in transaction mode.",
        )
    ]


def has_disk(usage: Callable[[str], tuple[int, int, int]] = shutil.disk_usage) -> Outcome:
    """Check that the database's disk isn't nearly full, as far as this host can see it."""
    with connection.cursor() as cursor:
        cursor.execute(SIZES, [OUTBOX])
        database, outbox = cursor.fetchone()
        cursor.execute(FOLDER)
        folder = next((setting for (setting,) in cursor.fetchall()), "")
    seen = f"the database has {megabytes(database)}, the outbox {megabytes(outbox)} of it"
    if not _is_here(folder):
        return f"{seen}; its disk can't be seen from here"
    total, _, free = usage(folder)
    seen = f"{seen}; {gigabytes(free)} of {gigabytes(total)} free"
    if free > total * FREE:
        return seen
    return [
        Finding(
            what=f"PostgreSQL's disk is nearly full: {seen}.",
            why="On a full disk nothing can be saved or announced.",
            cure="Free or add space, but delete nothing in its folder. The outbox keeps rows for "
            "RETENTION_SECONDS; `manage.py pillarbox prune` deletes the older ones.",
            is_grave=free < total * FREE / 5,
        )
    ]


def _threads(kind: str) -> int:
    return {"worker": WORKER, "daphne": DAPHNE + pillarbox_settings().DATABASE_THREADS}.get(kind, 1)


def _is_here(folder: str) -> bool:
    """True if the database is on this machine, and its folder is visible."""
    to = connection.settings_dict
    host = to["HOST"] or to["OPTIONS"].get("host", "")
    return (not host or host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"}) and (
        bool(folder) and Path(folder).exists()
    )
