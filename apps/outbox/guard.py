"""A guard for test suites: a write to a live table that nobody announces fails loudly."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.sql import Composable

from . import bulk, deletions, saves
from .announcers import tables, tables_of
from .exceptions import UnannouncedWriteError

_WRITE = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO)\s+(?:ONLY\s+)?"
    r'(?:"?\w+"?\s*\.\s*)?"?(?P<table>\w+)',
    re.IGNORECASE,
)
_TRUNCATE = re.compile(r"\s*TRUNCATE\b", re.IGNORECASE)
#: Comments and texts: what stands there is not done.
_SAID = re.compile(r"/\*.*?\*/|--[^\n]*|'(?:[^']|'')*'", re.DOTALL)

#: What announces a write → the models whose tables it writes to.
_ANNOUNCING: dict[Any, Callable[[Mapping[str, Any]], Iterable[Any]]] = {
    saves.save.__code__: lambda names: [type(names["instance"])],
    bulk.update.__code__: lambda names: [names["queryset"].model],
    bulk.bulk_create.__code__: lambda names: [names["queryset"].model],
    deletions.delete.__code__: lambda names: [
        *names["collector"].data,
        *(field.model for field, _ in names["collector"].field_updates),
    ],
}


@contextmanager
def unannounced_writes_fail(using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """
    For as long, raise UnannouncedWriteError where this thread writes to a live table past the capture.

    By SQL, by a queryset's `_raw_delete`, by a fixture. ``bulk_create(announce=False)`` says what it
    does, and passes. Not seen: a COPY by psycopg itself, what triggers and functions of the database
    do, and what a receiver writes by SQL to the very table that is being saved.
    """
    with connections[using].execute_wrapper(_refuse):
        yield


def _refuse(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    text = sql.as_string(context["connection"].connection) if isinstance(sql, Composable) else sql
    live = _written(_SAID.sub(" ", text)) & tables()
    if unseen := sorted(live - _announced(sys._getframe()) if live else ()):
        raise UnannouncedWriteError(
            f"{unseen[0]} is live, and this write is announced to nobody: use the model's saves or"
            f" querysets, or say announce=False. {text}"
        )
    return execute(sql, params, many, context)


def _written(sql: str) -> set[str]:
    """Return names of the tables that a statement writes to."""
    if _TRUNCATE.match(sql):  # the one that takes several
        return set(re.findall(r"\w+", sql))
    return {found["table"] for found in _WRITE.finditer(sql)}


def _announced(frame: FrameType | None) -> set[str]:
    """Return the tables whose writes are announced where a statement is executed, or said to be silent."""
    models: list[Any] = []
    while frame is not None:
        if frame.f_code in _ANNOUNCING:
            models += _ANNOUNCING[frame.f_code](frame.f_locals)
        elif frame.f_code.co_name == "bulk_create" and frame.f_locals.get("announce") is False:
            models.append(frame.f_locals["self"].model)
        frame = frame.f_back
    return tables_of(models)
