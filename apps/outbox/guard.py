"""A guard for test suites: a write to a live table that nobody announces fails loudly."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from . import bulk, deletions, saves
from .announcers import tables
from .exceptions import UnannouncedWriteError

_WRITE = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO)\s+(?:ONLY\s+)?"
    r'(?:"?\w+"?\.)?"?(?P<table>\w+)',
    re.IGNORECASE,
)
_TRUNCATE = re.compile(r"\s*TRUNCATE\b", re.IGNORECASE)
_ANNOUNCING = {
    function.__code__ for function in (saves.save, bulk.update, bulk.bulk_create, deletions.delete)
}


@contextmanager
def unannounced_writes_fail(using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """
    For as long, raise UnannouncedWriteError where this thread writes to a live table past the capture.

    By SQL, by a queryset's `_raw_delete`, by a fixture. ``bulk_create(announce=False)`` says what it
    does, and passes. A COPY by psycopg itself is not seen.
    """
    with connections[using].execute_wrapper(_refuse):
        yield


def _refuse(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    if (live := sorted(_written(str(sql)) & tables())) and not _is_announced(sys._getframe()):
        raise UnannouncedWriteError(
            f"{live[0]} is live, and this write is announced to nobody: use the model's saves or"
            f" querysets, or say announce=False. {sql}"
        )
    return execute(sql, params, many, context)


def _written(sql: str) -> set[str]:
    """Return names of the tables that a statement writes to."""
    if _TRUNCATE.match(sql):  # the one that takes several
        return set(re.findall(r"\w+", sql))
    return {found["table"] for found in _WRITE.finditer(sql)}


def _is_announced(frame: FrameType | None) -> bool:
    while frame is not None:
        is_bulk_create = frame.f_code.co_name == "bulk_create"
        if frame.f_code in _ANNOUNCING or (
            is_bulk_create and not frame.f_locals.get("announce", True)
        ):
            return True
        frame = frame.f_back
    return False
