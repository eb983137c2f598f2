"""Shown tables: those whose rows payloads of other objects show, and the way from a row to these objects."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from django.db import models

from .announcers import Announcer
from .lookups import lookup_of
from .shown_paths import EVERYTHING, ShownPath, column_named, is_reverse

#: Fields of one table; None for every column.
Fields = frozenset[Any] | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShownTable:
    """A table of which an announcer's objects show rows, and the way from a row to the objects."""

    announcer: Announcer
    #: The model that declares the table.
    model: type[models.Model]
    #: The field whose value leads to the objects.
    key: Any
    #: The lookup that finds the objects by that value; empty if it is their primary key.
    lookup: str
    #: The fields whose change is announced.
    fields: Fields
    #: True if the rows make the relation, so that an object changes when one of them comes or goes.
    is_link: bool
    #: True if the payload shows everything that the type of the rows announces.
    is_whole: bool


class _Rows(NamedTuple):
    """The rows that a part of a path leads to."""

    model: type[models.Model]
    #: The lookup from the objects to the rows; empty for the objects themselves.
    path: str = ""
    #: The rows' foreign key that the path follows backwards, if it leads to them in this way.
    link: Any = None
    #: The lookup that finds the objects by the value of ``link``.
    lookup: str = ""

    def after(self, relation: Any) -> "_Rows":
        """Return the rows that a relation of these rows leads to."""
        rows = _Rows(relation.related_model, _joined(self.path, relation.name))
        if is_reverse(relation) and not relation.many_to_many:
            link = relation.field
            return rows._replace(link=link, lookup=self.lookup_by(link.target_field))
        return rows

    def lookup_by(self, field: Any) -> str:
        """Return the lookup that finds the objects by a value of a field of these rows."""
        found = lookup_of(self.model, field)
        return _joined(self.path, found or "pk") if self.path else found


def shown_tables(announcer: Announcer, announcers: Sequence[Announcer]) -> tuple[ShownTable, ...]:
    """Return the tables of which an announcer's objects show rows. ``announcers`` are all registered ones."""
    found: dict[tuple[Any, ...], ShownTable] = {}
    for path in announcer.shown_paths:
        for table in _on_path(announcer, path, announcers):
            place = (table.model, table.key, table.lookup)
            found[place] = _merged(found[place], table) if place in found else table
    return tuple(found.values())


def _on_path(
    announcer: Announcer, path: ShownPath, announcers: Iterable[Announcer]
) -> Iterator[ShownTable]:
    rows = _Rows(announcer.model)
    for relation in path.relations:
        yield from _of_relation(announcer, rows, relation)
        rows = rows.after(relation)
    if path.column == EVERYTHING:
        yield from _of_types(announcer, rows, announcers)
    elif path.column:
        field: Any = column_named(rows.model, path.column)
        yield _table(announcer, rows, field.model, frozenset([field]))


def _of_relation(announcer: Announcer, rows: _Rows, relation: Any) -> Iterator[ShownTable]:
    """Yield the table whose rows make a relation, unless it is the objects' own table."""
    if relation.many_to_many:
        field = relation.field if is_reverse(relation) else relation
        through = field.remote_field.through
        names = field.m2m_field_name(), field.m2m_reverse_field_name()
        link = through._meta.get_field(names[is_reverse(relation)])
        lookup = rows.lookup_by(link.target_field)
        of_link = rows._replace(link=link, lookup=lookup)
        # If it is a proxy, or inherits its foreign keys, another model declares their table.
        yield _table(announcer, of_link, link.model, None)
    elif is_reverse(relation):
        yield _table(announcer, rows.after(relation), relation.field.model, frozenset())
    elif rows.path:
        yield _table(announcer, rows, relation.model, frozenset([relation]))


def _of_types(
    announcer: Announcer, rows: _Rows, announcers: Iterable[Announcer]
) -> Iterator[ShownTable]:
    """Yield the tables of rows of which everything is shown that their types announce."""
    model: Any = rows.model._meta.concrete_model
    yield replace(_table(announcer, rows, model, frozenset()), is_whole=True)
    for kind in announcers:
        if kind.model is model and not kind.ends_right:
            for owner, fields in _announced(kind).items():
                yield _table(announcer, rows, owner, fields)


def _announced(kind: Announcer) -> dict[Any, Fields]:
    """Return the fields whose change a type announces, by the model that declares their table."""
    if kind.compares_every_column:
        return dict.fromkeys([kind.model, *kind.model._meta.all_parents])
    fields: dict[Any, set[Any]] = defaultdict(set)
    for field in {*kind.compared_fields.values(), *kind.condition_fields}:
        fields[field.model].add(field)
    return {model: frozenset(of_model) for model, of_model in fields.items()}


def _table(announcer: Announcer, rows: _Rows, model: Any, fields: Fields) -> ShownTable:
    """Return the table that ``model`` declares, as one of which the payload shows these fields."""
    is_link = rows.link is not None and rows.link.model is model
    key = rows.link if is_link else model._meta.pk
    if is_link and fields is not None:
        fields |= {key}
    return ShownTable(
        announcer=announcer,
        model=model,
        key=key,
        lookup=rows.lookup if is_link else rows.lookup_by(key),
        fields=fields,
        is_link=is_link,
        is_whole=False,
    )


def _merged(one: ShownTable, other: ShownTable) -> ShownTable:
    is_every = one.fields is None or other.fields is None
    return replace(
        one,
        fields=None if is_every else one.fields | other.fields,  # type: ignore[operator]
        is_whole=one.is_whole or other.is_whole,
    )


def _joined(path: str, name: str) -> str:
    return f"{path}__{name}" if path else name
