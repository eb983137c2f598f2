"""Comparison of the database with the code: migrations, indexes and constraints."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.apps import apps
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Index, Model

APP = "pillarbox"

# An interrupted CREATE INDEX CONCURRENTLY leaves an index that exists but is not valid.
FOUND = """
SELECT relname, indisvalid AND indisready, true FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = %(table)s::regclass
UNION ALL
SELECT conname, convalidated, false FROM pg_constraint WHERE conrelid = %(table)s::regclass
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Defect:
    """An index or a constraint that is missing or invalid, with its consequence and cure."""

    name: str
    what: str
    why: str
    #: The SQL that repairs it.
    cure: str
    #: True if a guarantee depends on it; False if it only costs performance.
    is_grave: bool = True


def unapplied(*, using: str) -> list[tuple[str, str]]:
    """Return the migrations that the database lacks, by app and name, in the order of `migrate`."""
    applied = set(MigrationRecorder(connections[using]).applied_migrations())
    return [key for key, replaced in _migrations() if not is_applied(key, replaced, applied)]


def is_applied(
    key: tuple[str, str],
    replaced: AbstractSet[tuple[str, str]],
    applied: AbstractSet[tuple[str, str]],
) -> bool:
    """Return whether a migration is applied itself or, if it is squashed, by all those that it replaces."""
    return key in applied or (bool(replaced) and replaced <= applied)


def is_migrated(*, using: str) -> bool:
    """Return whether all migrations of the outbox are applied. Other apps don't count."""
    return all(app != APP for app, _ in unapplied(using=using))


def defects(*, using: str) -> list[Defect]:
    """Return the outbox's missing or invalid indexes and constraints. All migrations must be applied."""
    return [
        defect
        for model in apps.get_app_config(APP).get_models()
        for defect in _defects(model, using)
    ]


@lru_cache
def _migrations() -> list[tuple[tuple[str, str], set[tuple[str, str]]]]:
    """Return this process's migrations in order, each with those that it replaces."""
    graph = MigrationLoader(None, ignore_no_migrations=True).graph
    plan = (key for leaf in graph.leaf_nodes() for key in graph.forwards_plan(leaf))
    return [(key, set(graph.nodes[key].replaces)) for key in dict.fromkeys(plan)]


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
        "Queries that use this index now scan the whole table."
        if isinstance(each, Index)
        else "The database no longer rejects invalid rows."
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
        why = "Rows that are older than the constraint were never checked; some may be invalid."
    elif is_declared:
        cure = f"REINDEX INDEX CONCURRENTLY {name};"
        why = "Its build was interrupted: each save writes to it, and no query uses it."
    else:
        cure = f"DROP INDEX CONCURRENTLY {name};"
        why = "It is left over from an interrupted REINDEX: each save writes to it, and no query uses it."
    what = f"{name} of {table} is not valid."
    return Defect(name=name, what=what, why=why, cure=cure, is_grave=is_declared)
