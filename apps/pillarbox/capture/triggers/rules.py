"""Rules: the rows that a change of a live table writes into the outbox, as data."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import models

from ...types.announcers import Announcer
from ...types.live_models import is_owner, move_attributes, shown_by
from ...types.lookups import lookup_of, stream_prefix
from ...types.shown_tables import ShownTable
from .conditions import condition
from .image_columns import image_fields, is_json, is_virtual


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """
    The outbox rows that a change in one table writes for one object type.

    All names are names of columns. The rows have an image if the changed row is the whole object.
    """

    object_type: str
    #: The column with the object's primary key.
    key: str
    #: Stream names, each with the column that holds its owner's primary key; the object's own is first.
    streams: tuple[tuple[str, str], ...]
    #: A lookup that finds the objects by ``key``; empty if it holds their primary key. Rows with a lookup are
    #: in separate streams until rendering has found the objects.
    lookup: str = ""
    #: Events to write: some of CREATE, UPDATE and DELETE.
    verbs: tuple[str, ...]
    #: Columns that are compared to detect a change; None if every column counts.
    compared: tuple[str, ...] | None
    #: Columns whose change is a move.
    move_columns: tuple[str, ...] = ()
    #: Columns of the image; empty if the rows have none.
    image: tuple[str, ...] = ()
    #: Columns of the image that may hold a JSON null.
    json_columns: tuple[str, ...] = ()
    #: The columns by which a row is compared with the current one; empty if every column counts.
    stored: tuple[str, ...] = ()
    #: The condition of `Announcer.where` in SQL, with `conditions.ROW` for the row; empty if there is none.
    where: str = ""
    #: False if the object's payload only shows the changed row. Each change is an UPDATE of the object.
    is_object: bool = True
    #: True if an object changes when a row that it shows is inserted or deleted.
    is_link: bool = False
    #: True if ``key`` holds a secret. A digest replaces it, also in the names of ``streams``.
    is_secret: bool = False
    #: The column with the time at which a row expires; empty if there is none.
    expires: str = ""
    #: True if the row is a part of an object that has rows in several tables.
    is_part: bool = False
    #: True if the rows announce ends of rights. They need no rendering, and are all in one stream.
    ends_right: bool = False
    #: True if other objects are visible through this one. Its moves and its deletion may end rights to them.
    is_owner: bool = False


def rules(announcers: Iterable[Announcer]) -> Mapping[type[models.Model], list[Rule]]:
    """Return the rules of each live table, by the model that declares the table."""
    found: dict[type[models.Model], list[Rule]] = defaultdict(list)
    # Whatever the order of registration, so that no process takes another's function for outdated.
    for announcer in sorted(announcers, key=lambda each: each.object_type):
        for model, rule in _rules_of(announcer):
            found[model].append(rule)
    return found


def _rules_of(announcer: Announcer) -> Iterator[tuple[type[models.Model], Rule]]:
    """Yield an announcer's rules: for objects, their ancestors' tables, and rows that they show."""
    yield announcer.model, _object_rule(announcer)
    for ancestor in announcer.model._meta.all_parents:
        yield ancestor, _ancestor_rule(announcer, ancestor)
    for table in shown_by(announcer):
        yield table.model, _shown_rule(table)


def _object_rule(announcer: Announcer) -> Rule:
    """Return the rule for the table that the object's own model declares."""
    model: Any = announcer.model
    own = {field.attname: field.column for field in model._meta.local_concrete_fields}
    key = model._meta.pk.attname if announcer.key == "pk" else announcer.key
    places = {
        name: own.get(model._meta.pk.attname if at == "pk" else at)
        for name, at in announcer.stream_keys
    }
    streams = tuple(
        (stream_prefix(name, announcer.lookup), column)
        for name, column in places.items()
        if column is not None
    )
    move_columns = _move_columns(announcer, own)
    image = image_fields(announcer)
    compared = _compared(announcer, own)
    if compared is not None:
        placing = (column for _, column in streams)
        compared = tuple(dict.fromkeys([own[key], *placing, *move_columns, *compared]))
    return Rule(
        object_type=announcer.object_type,
        key=own[key],
        streams=streams,
        lookup=announcer.lookup,
        verbs=tuple(sorted(announcer.verbs)),
        compared=compared,
        move_columns=move_columns,
        where=condition(announcer.where, model) if announcer.where else "",
        image=tuple(field.column for field in image),
        json_columns=tuple(field.column for field in image if is_json(field)),
        stored=_stored(model),
        is_secret=announcer.is_secret,
        expires=own[announcer.expires] if announcer.expires else "",
        is_part=bool(model._meta.parents),
        ends_right=announcer.ends_right,
        is_owner=is_owner(announcer),
    )


def _ancestor_rule(announcer: Announcer, ancestor: type[models.Model]) -> Rule:
    """Return the rule for the table of an ancestor of the objects' model."""
    meta: Any = ancestor._meta
    own = {field.attname: field.column for field in meta.local_concrete_fields}
    key, lookup = meta.pk.column, lookup_of(announcer.model, meta.pk)
    own_stream = [(stream_prefix(name, lookup), key) for name, _ in announcer.stream_keys[:1]]
    places = [(name, own[at]) for name, at in announcer.stream_keys[1:] if at in own]
    return Rule(
        object_type=announcer.object_type,
        key=key,
        streams=(*own_stream, *places),
        lookup=lookup,
        # An ancestor's row is inserted before the object's own row, and may exist without it.
        verbs=("DELETE", "UPDATE") if places else ("UPDATE",),
        compared=_compared(announcer, own),
        move_columns=_move_columns(announcer, own),
        is_object=False,
        is_part=True,
        ends_right=announcer.ends_right,
        is_owner=is_owner(announcer),
    )


def _shown_rule(table: ShownTable) -> Rule:
    """Return the rule by which a change in a table announces the objects that show its rows."""
    name, _ = table.announcer.stream_keys[0]
    return Rule(
        object_type=table.announcer.object_type,
        key=table.key.column,
        streams=((stream_prefix(name, table.lookup), table.key.column),),
        lookup=table.lookup,
        verbs=("UPDATE",),
        compared=None if table.fields is None else _columns(table.fields),
        is_object=False,
        is_link=table.is_link,
    )


def _move_columns(announcer: Announcer, own: Mapping[str, str]) -> tuple[str, ...]:
    """Return those of the ``own`` columns whose change is a move."""
    return tuple(sorted(own[name] for name in move_attributes(announcer) if name in own))


def _compared(announcer: Announcer, own: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return those of the ``own`` columns that are compared to detect a change; None for every column."""
    if announcer.compares_every_column or _columns(announcer.compared_fields.values()) is None:
        return None
    return tuple(own[attribute] for attribute in announcer.compared_fields if attribute in own)


def _stored(model: Any) -> tuple[str, ...]:
    """Return the columns of a model's table that are stored; none if all are. Triggers see no others."""
    columns = {field.column: is_virtual(field) for field in model._meta.local_concrete_fields}
    return (
        tuple(one for one, virtual in columns.items() if not virtual)
        if any(columns.values())
        else ()
    )


def _columns(fields: Iterable[Any]) -> tuple[str, ...] | None:
    """Return the columns of fields to compare; None, for every column, if one of them is virtual."""
    # A trigger sees no virtual columns, only the columns from which they are computed.
    columns = {field.column: is_virtual(field) for field in fields}
    return None if any(columns.values()) else tuple(sorted(columns))
