"""The live models of this process: the registered announcers, and look-ups among them."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from django.db import models

from ..exceptions import UnknownObjectTypeError
from .announcers import Announcer
from .shown_tables import ShownTable, shown_tables

_announcers: list[Announcer] = []


def register_announcer(announcer: Announcer) -> None:
    """Announce changes of the announcer's model, and of what its objects show of other rows, from now on."""
    _announcers.append(announcer)
    _clear_caches()


def unregister_announcer(announcer: Announcer) -> None:
    """Undo `register_announcer`."""
    _announcers.remove(announcer)
    _clear_caches()


def object_type_names() -> list[str]:
    """Return the object types registered in this process. Rows of other types wait for other processes."""
    return sorted({announcer.object_type for announcer in all_announcers()})


def all_announcers() -> tuple[Announcer, ...]:
    """Return the registered announcers."""
    return tuple(_announcers)


def announcer_of(object_type: str) -> Announcer:
    """Return the announcer of a type's objects. Raises UnknownObjectTypeError."""
    for announcer in all_announcers():
        if announcer.object_type == object_type:
            return announcer
    raise UnknownObjectTypeError(f"The object type {object_type!r} is not registered.")


@cache
def move_attributes(announcer: Announcer) -> frozenset[str]:
    """
    Return the attributes whose change is a move of an announcer's objects.

    They include the attributes that place the same objects as another object type, because its readers
    may depend on them.
    """
    fields: Iterable[Any] = map(announcer.model._meta.get_field, announcer.move_fields)
    alike = [one for one in all_announcers() if one.model is announcer.model]
    placing = {attribute for one in alike for _, attribute in one.stream_keys[1:]}
    return frozenset(placing.union(field.attname for field in fields))


@cache
def is_owner(announcer: Announcer) -> bool:
    """Return whether the announcer's objects own collections of other objects."""
    links: Iterable[Any] = (
        field
        for one in all_announcers()
        for field in one.model._meta.concrete_fields
        if field.attname in {attribute for _, attribute in one.stream_keys[1:]}
    )
    return any(link.related_model._meta.concrete_model is announcer.model for link in links)


@cache
def shown_by(announcer: Announcer) -> tuple[ShownTable, ...]:
    """Return the tables of which an announcer's objects show rows."""
    return shown_tables(announcer, all_announcers())


@cache
def showing_whole(announcer: Announcer) -> tuple[ShownTable, ...]:
    """Return the announcer's own table once for each type whose objects show all of its objects."""
    tables = (table for one in all_announcers() for table in shown_by(one))
    return tuple(table for table in tables if table.is_whole and table.model is announcer.model)


@cache
def live_tables(*, is_deletion: bool) -> frozenset[str]:
    """Return the tables, without schema, whose deletions (or inserts and updates) are announced."""
    chosen = (a for a in _announcers if is_deletion or a.verbs != {"DELETE"})
    models_: Any = {model for a in chosen for model in (a.model, *a.model._meta.all_parents)}
    models_ |= {table.model for a in _announcers for table in shown_by(a)}
    return frozenset(map(table_of, models_))


def table_of(model: type[models.Model]) -> str:
    """Return the name of a model's table, without the schema that ``db_table`` may contain."""
    return str(model._meta.db_table.strip('"').rpartition('"."')[2])


def _clear_caches() -> None:
    for function in (shown_by, showing_whole, move_attributes, is_owner, live_tables):
        function.cache_clear()
