"""Whether a process that serves clients should be sent some."""

from functools import lru_cache
from threading import Event

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from apps.realtime.layers import standing

from .questions import Question

#: Set when the process has been told to stop.
stopping = Event()


def readiness(*, serves_sockets: bool) -> dict[str, object]:
    """
    Return ``ready``, and what it is made of, in words.

    The channel layer being away makes nobody unready: sockets are served from the database.
    """
    found: dict[str, object] = {"database": "ok", "migrations": "applied"}
    try:
        if not _is_migrated().answer():
            found["migrations"] = "missing"
    except Exception:  # noqa: BLE001  # whatever it is, nobody can be served
        found = {"database": "away", "migrations": "unknown"}
    if stopping.is_set():
        found["stopping"] = True
    is_ready = found == {"database": "ok", "migrations": "applied"}
    if serves_sockets:
        found["channel_layer"] = "away" if standing() == "away" else "ok"
    return {"ready": is_ready, **found}


@lru_cache
def _is_migrated() -> "Question[bool]":
    """Return the question whether all migrations are applied that this process knows."""
    last = set(MigrationLoader(None, ignore_no_migrations=True).graph.leaf_nodes())
    return Question(lambda: last <= set(MigrationRecorder(connection).applied_migrations()))
