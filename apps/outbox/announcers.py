"""Which models are live, and how their changes become notifications."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from django.db import models
from model_utils import FieldTracker

from .exceptions import PayloadError, UnknownTypeError
from .payload import storable
from .stored import is_faithful, same


@dataclass(frozen=True, kw_only=True, eq=False)
class Announcer:
    """How changes of one model's rows are announced as one object type. A registration makes it."""

    object_type: str
    #: The live model, a concrete one.
    model: type[models.Model]
    #: Fields that decide in which streams an object is announced, or who may see it.
    deciding: tuple[str, ...] = ()
    #: Fields whose change counts, besides those; None for what the model's tracker says, or every column.
    fields: tuple[str, ...] | None = None
    #: Many-to-many fields whose changes are announced.
    many_to_many: tuple[str, ...] = ()
    #: Foreign keys to live objects whose payload shows something of this one.
    also: tuple[str, ...] = ()
    #: What is announced of rows, besides their changes: that they come, that they go.
    verbs: frozenset[str] = frozenset({"CREATE", "UPDATE", "DELETE"})
    #: Names of the streams in which a row is announced, its own first.
    streams: Callable[[Any], list[str]]
    #: The same as data: stream names, each with the attribute that holds its owner's key, its own first.
    placed_by: tuple[tuple[str, str], ...] = ()
    #: The attribute that holds the primary key of the announced object.
    key: str = "pk"
    #: False if rows show nothing of the object: they have an empty payload, and no image.
    shows_object: bool = True
    #: Relations that the payload shows, as `prefetch_related_objects` names them.
    prefetch: tuple[str, ...] = ()
    #: Fields that an image leaves out, since the payload shows nothing of them.
    omit: tuple[str, ...] = ()
    #: Whose relation this model's rows are; None for objects.
    owner: "Announcer | None" = None
    #: What subscribers see of a row.
    payload: Callable[[Any], Mapping[str, Any]]
    #: What subscribers see of a primary key whose row is gone.
    tombstone: Callable[[Any], Mapping[str, Any]]
    #: Streams whose moves decide anew who may read a stream in which a row, or None, is announced.
    guards: Callable[[str, Any], list[str]] = lambda stream, row: [stream]

    def event(self, verb: str) -> str:
        """Return the name of an event of this type: ``UPDATE_TICKET``."""
        return event_of(verb, self.object_type)

    @cached_property
    def tracker(self) -> Any:
        """The model's own tracker, whatever its name; None if it has none that works."""
        return next((value for value in vars(self.model).values() if is_ready(value)), None)

    @cached_property
    def shown_in(self) -> tuple[Any, ...]:
        """The foreign keys of `also`."""
        return tuple(map(self._field, self.also))

    @cached_property
    def decisive(self) -> frozenset[str]:
        """Attributes whose change touches other streams or objects than the object's own."""
        return frozenset(self._field(name).attname for name in (*self.deciding, *self.also))

    @cached_property
    def watched(self) -> Mapping[str, Any]:
        """Attribute → field of what a change is looked for in: what is chosen, tracked, or every column."""
        columns = {field.attname: field for field in self.model._meta.concrete_fields}
        if self.watches_everything:
            return columns
        chosen = self.tracked
        if self.fields is not None:
            chosen = frozenset(self._field(name).attname for name in self.fields)
        names = self.decisive | chosen
        return {attribute: field for attribute, field in columns.items() if attribute in names}

    @cached_property
    def watches_everything(self) -> bool:
        """True if every column of the object counts."""
        return self.fields is None and self.tracker is None

    @cached_property
    def tracked(self) -> frozenset[str]:
        """Attributes that the model's own tracker tracks."""
        return frozenset(self.tracker.field_map.values()) if self.tracker else frozenset()

    @cached_property
    def askable(self) -> frozenset[str]:
        """Decisive attributes that instances remember, and that a condition of SQL can ask for."""
        # A field of one's own may have no such condition, or one of its own.
        faithful = {name for name in self.decisive if is_faithful(self.watched[name])}
        return self.tracked & faithful

    def differ(self, before: models.Model, after: models.Model) -> bool:
        """Whether two states of a row are a change to announce."""
        return _differ(self.watched, before, after)

    def moves(self, before: models.Model, after: models.Model) -> bool:
        """
        Whether a row was, in its state before, perhaps elsewhere, or not for the same eyes.

        What decides so of one type of a model decides of all.
        """
        return any(
            _differ(a._places, before, after) for a in affected(self.model) if a.model is self.model
        )

    @cached_property
    def _places(self) -> Mapping[str, Any]:
        return {field.attname: field for field in map(self._field, self.deciding)}

    @cached_property
    def is_computed(self) -> bool:
        """Whether the database computes a field that is watched: any write may change it."""
        return any(field.generated for field in self.watched.values())

    def _field(self, name: str) -> Any:
        return self.model._meta.get_field(name)


def _differ(fields: Mapping[str, Any], before: models.Model, after: models.Model) -> bool:
    return any(
        not same(field, vars(before)[name], vars(after)[name]) for name, field in fields.items()
    )


@cache
def event_of(verb: str, object_type: str) -> str:
    """Return the name of what a change of an object announces: ``UPDATE_TICKET``."""
    return f"{verb}_{object_type}".upper().replace(".", "_").replace("-", "_")


_announcers: list[Announcer] = []


def connect(announcer: Announcer) -> None:
    """From now on, announce the changes of the announcer's model, and of its many-to-many relations."""
    _announcers.extend([announcer, *_relations(announcer)])
    affected.cache_clear()


def disconnect(announcer: Announcer) -> None:
    """Take back `connect`."""
    _announcers[:] = [a for a in _announcers if announcer not in (a, a.owner)]
    affected.cache_clear()


def announcers() -> tuple[Announcer, ...]:
    """Return those that are connected, without those of relations."""
    return tuple(announcer for announcer in _announcers if announcer.owner is None)


def connected() -> tuple[Announcer, ...]:
    """Return those that are connected, and those of their relations."""
    return tuple(_announcers)


def announcer_of(object_type: str) -> Announcer:
    """Return the announcer of a type's objects. Raises UnknownTypeError if none is connected."""
    for announcer in announcers():
        if announcer.object_type == object_type:
            return announcer
    raise UnknownTypeError(object_type)


@cache
def affected(model: type[models.Model]) -> tuple[Announcer, ...]:
    """
    Return those whose objects a write to a row of ``model`` may change.

    They are of the model itself (of a proxy's concrete model), and, since multi-table inheritance
    spreads an object over several tables, of its ancestors and descendants.
    """
    concrete: Any = model._meta.concrete_model
    return tuple(
        a for a in _announcers if issubclass(a.model, concrete) or issubclass(concrete, a.model)
    )


def tables() -> set[str]:
    """Return the names of the tables that live objects and their relations are in."""
    return tables_of(announcer.model for announcer in _announcers)


def tables_of(models_: Iterable[Any]) -> set[str]:
    """Return the names, without a schema, of the tables that rows of models are in."""
    found = {table for model in models_ for table in (model, *model._meta.all_parents)}
    return {model._meta.db_table.strip('"').rpartition('"."')[2] for model in found}


def refuse_unstorable(model: type[models.Model], values: Mapping[str, Any]) -> None:
    """Raise PayloadError if a value that a model is to hold, by attribute, can't be stored, or sent."""
    watched = {name: field for a in affected(model) for name, field in a.watched.items()}
    for attribute, value in values.items():
        # PostgreSQL takes a NaN, and JSON doesn't; in what isn't announced it is nobody's business.
        if isinstance(value, str) or attribute in watched:
            path, field = f"{model._meta.model_name}.{attribute}", watched.get(attribute)
            storable(value, path)
            if isinstance(field, models.JSONField) and not hasattr(value, "resolve_expression"):
                _refuse_no_json(value, path, field.encoder)


def _refuse_no_json(value: Any, path: str, encoder: Any) -> None:
    try:
        json.dumps(value, cls=encoder)
    except (TypeError, ValueError) as error:
        raise PayloadError(path, f"expected JSON. {error}.") from None


def _relations(announcer: Announcer) -> Iterator[Announcer]:
    """
    Yield what makes the tables of many-to-many relations live.

    Their rows are in no stream: what a change of one announces is the owner, which shows it.
    """
    for name in announcer.many_to_many:
        field: Any = announcer.model._meta.get_field(name)
        yield Announcer(
            object_type=announcer.object_type,
            model=field.remote_field.through,
            also=(field.m2m_field_name(),),
            streams=lambda row: [],
            payload=lambda row: {},
            tombstone=lambda pk: {},
            owner=announcer,
        )


def is_ready(value: Any) -> bool:
    """Whether something is a `FieldTracker` that tracks."""
    # A tracker that was declared on an abstract model is never told to which class it belongs.
    return isinstance(value, FieldTracker) and hasattr(value, "model_class")
