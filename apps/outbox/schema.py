"""Whether the database has what the models declare: each index and constraint, whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.models import Index, Model

APP = "outbox"

# What an interrupted CREATE INDEX CONCURRENTLY leaves is there, and not valid.
FOUND = """
SELECT relname, indisvalid AND indisready, true FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = %(table)s::regclass
UNION ALL
SELECT conname, convalidated, false FROM pg_constraint WHERE conrelid = %(table)s::regclass
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Defect:
    """An index or a constraint that isn't as the models have it, and what to do."""

    name: str
    what: str
    why: str
    #: The SQL that mends it, or words.
    cure: str
    #: Whether a promise hangs on it; else it only costs something.
    is_grave: bool = True


def is_migrated(*, using: str) -> bool:
    """Whether the outbox's migrations are all applied."""
    loader = MigrationLoader(connections[using])
    ours = {key for key in loader.disk_migrations if key[0] == APP}
    return ours <= set(loader.applied_migrations)


def defects(*, using: str) -> list[Defect]:
    """Return what is missing of the outbox's indexes and constraints, or not valid. All is migrated."""
    return [
        defect
        for model in apps.get_app_config(APP).get_models()
        for defect in _defects(model, using)
    ]


def _defects(model: type[Model], using: str) -> Iterator[Defect]:
    table = model._meta.db_table
    with connections[using].cursor() as cursor:
        cursor.execute(FOUND, {"table": table})
        found = {name: (is_valid, is_index) for name, is_valid, is_index in cursor.fetchall()}
    declared = {each.name: each for each in (*model._meta.indexes, *model._meta.constraints)}
    for name, each in declared.items():
        if name not in found:
            yield _missing(each, model, using)
    for name, (is_valid, is_index) in found.items():
        if not is_valid:
            yield _invalid(name, table, is_declared=name in declared, is_index=is_index)


def _missing(each: Any, model: type[Model], using: str) -> Defect:
    editor = connections[using].schema_editor(collect_sql=True)
    options = {"concurrently": True} if isinstance(each, Index) else {}
    why = (
        "What it is for reads the whole table instead, slower with every row."
        if isinstance(each, Index)
        else "The database no longer refuses what must never be."
    )
    return Defect(
        name=each.name,
        what=f"{each.name} of {model._meta.db_table} is missing.",
        why=why,
        cure=f"{each.create_sql(model, editor, **options)};",
    )


def _invalid(name: str, table: str, *, is_declared: bool, is_index: bool) -> Defect:
    if not is_index:
        cure = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name};"
        why = "Rows from before it was made were never looked at: some may be what must never be."
    elif is_declared:
        cure = f"REINDEX INDEX CONCURRENTLY {name};"
        why = "It was not built to the end: each save writes it, and no query uses it."
    else:
        cure = f"DROP INDEX CONCURRENTLY {name};"
        why = (
            "It is a leftover of an interrupted REINDEX: each save writes it, and no query uses it."
        )
    what = f"{name} of {table} is not valid."
    return Defect(name=name, what=what, why=why, cure=cure, is_grave=is_declared)
