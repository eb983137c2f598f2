"""Whether there is room: connections to the database, and space on its disk."""

import shutil
from collections.abc import Callable
from pathlib import Path

from django.db import DEFAULT_DB_ALIAS, connection

from apps.outbox.instances import known
from apps.outbox.models import NotificationOutbox
from apps.realtime.conf import realtime_settings

from .findings import Answer, Finding

#: The share of the connections that may be in use.
CROWDED = 0.8
#: Threads that have a connection: a worker's child and a Daphne, each with its reporter's; of a
#: Daphne besides its sockets' DATABASE_THREADS also those of its rounds, and asgiref's.
WORKER, DAPHNE = 2, 4
#: The share of a disk that should be free.
FREE = 0.1

# All that a role without privileges sees of others is that they are there.
CONNECTIONS = """
SELECT count(*) FILTER (WHERE usesysid IS NOT NULL), least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
    (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
) FROM pg_stat_activity
"""
# Empty for a role that may not know it.
FOLDER = "SELECT setting FROM pg_settings WHERE name = 'data_directory'"
SIZES = "SELECT pg_database_size(current_database()), pg_total_relation_size(%s::regclass)"

OUTBOX = NotificationOutbox._meta.db_table


def has_connections() -> Answer:
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


def has_disk(usage: Callable[[str], tuple[int, int, int]] = shutil.disk_usage) -> Answer:
    """The database's disk isn't full, as far as this host can see it."""
    with connection.cursor() as cursor:
        cursor.execute(SIZES, [OUTBOX])
        database, outbox = cursor.fetchone()
        cursor.execute(FOLDER)
        folder = next((setting for (setting,) in cursor.fetchall()), "")
    seen = f"the database has {_megabytes(database)}, the outbox {_megabytes(outbox)} of it"
    if not _is_here(folder):
        return f"{seen}; its disk can't be seen from here"
    total, _, free = usage(folder)
    seen = f"{seen}; {free / 2**30:.0f} of {total / 2**30:.0f} GB free"
    if free > total * FREE:
        return seen
    return [
        Finding(
            what=f"PostgreSQL's disk is nearly full: {seen}.",
            why="When it is full nothing can be saved, nor announced.",
            cure="Free or add space. Not by hand in its folder. The outbox keeps rows for RETENTION_SECONDS; "
            "`manage.py outbox prune` deletes the older ones.",
            is_grave=free < total * FREE / 5,
        )
    ]


def _threads(kind: str) -> int:
    return {"worker": WORKER, "daphne": DAPHNE + realtime_settings().DATABASE_THREADS}.get(kind, 1)


def _is_here(folder: str) -> bool:
    """Whether the database is on this machine, and its folder may be seen."""
    to = connection.settings_dict
    host = to["HOST"] or to["OPTIONS"].get("host", "")
    return (not host or host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"}) and (
        bool(folder) and Path(folder).exists()
    )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB"
