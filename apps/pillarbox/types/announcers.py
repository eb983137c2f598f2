"""Announcers: how changes of a live model's rows become notifications."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from django.db import models
from model_utils import FieldTracker

from .shown_paths import ShownPath, is_foreign_key, shown_path


@dataclass(frozen=True, kw_only=True, eq=False)
class Announcer:
    """One way to announce the changes of a live model: as objects of one object type."""

    object_type: str
    #: The live model. It is concrete.
    model: type[models.Model]
    #: Fields whose change is a move: it changes the object's streams, or which users may see the object.
    move_fields: tuple[str, ...] = ()
    #: Further fields whose change is announced. None means the fields of the model's `FieldTracker`, or
    #: every column if it has none.
    fields: tuple[str, ...] | None = None
    #: True if the primary key is a secret; rows then name the object by a digest of the key.
    is_secret: bool = False
    #: The attribute with a row's expiry time. Deletions of rows that expired long ago aren't announced.
    expires: str = ""
    #: Values that a query computes for the payload, by attribute, as arguments of `annotate`.
    annotations: Mapping[str, Any] = field(default_factory=dict)
    #: The condition that a row fulfils as long as it is an object of this type.
    where: models.Q = field(default_factory=models.Q)
    #: The kinds of change that are announced.
    verbs: frozenset[str] = frozenset({"CREATE", "UPDATE", "DELETE"})
    #: Returns the names of a row's streams: the object's own stream first, then its collections.
    streams: Callable[[Any], list[str]]
    #: The same streams as data: a name, and the attribute with the owner's key. The own stream is first.
    stream_keys: tuple[tuple[str, str], ...] = ()
    #: The attribute that holds the primary key of the announced object.
    key: str = "pk"
    #: The lookup that finds objects by that attribute's value; empty if the value is their primary key.
    lookup: str = ""
    #: True if the announced rows are ends of rights. They name the user and need no rendering.
    ends_right: bool = False
    #: What the payload shows of other rows, as paths of relations and a column.
    shows: tuple[str, ...] = ()
    #: Fields that images leave out because the payload doesn't use them.
    omit: tuple[str, ...] = ()
    #: Returns the names of the fields that the payload uses; None if they can't be determined.
    payload_fields: Callable[[], frozenset[str] | None] = lambda: None
    #: Returns the payload of a row.
    payload: Callable[[Any], Mapping[str, Any]]
    #: Returns the payload of a deletion, from the deleted row's primary key.
    tombstone: Callable[[Any], Mapping[str, Any]]
    #: Returns the streams whose moves may change the readers of a stream, for a row or None.
    guards: Callable[[str, Any], list[str]] = lambda stream, row: [stream]

    def event(self, verb: str) -> str:
        """Return the name of an event of this type: ``UPDATE_TICKET``."""
        return event_of(verb, self.object_type)

    @cached_property
    def tracker(self) -> Any:
        """The model's `FieldTracker`, whatever its name; None if there is none that works."""
        return next(
            (value for value in vars(self.model).values() if _is_working_tracker(value)), None
        )

    @cached_property
    def shown_paths(self) -> tuple[ShownPath, ...]:
        """The paths of `shows`."""
        found = (shown_path(self.model, path) for path in self.shows)
        return tuple(path for path in found if path is not None)

    @cached_property
    def prefetch(self) -> tuple[str, ...]:
        """The relations that the payload shows, as arguments of `prefetch_related_objects`."""
        return tuple(dict.fromkeys(path.prefetch for path in self.shown_paths))

    @cached_property
    def compared_fields(self) -> Mapping[str, Any]:
        """
        The fields that are compared to detect a change, by attribute. Unused if `compares_every_column`.

        Move fields are always among them, because their change concerns other streams, and so are the foreign
        keys with which the paths of `shows` begin.
        """
        columns = {field.attname: field for field in self.model._meta.concrete_fields}
        chosen = self.tracked_attributes if self.fields is None else self._attributes(self.fields)
        links = (path.relations[0] for path in self.shown_paths)
        own = {link.attname for link in links if is_foreign_key(link)}
        names = chosen | own | self._attributes(self.move_fields)
        return {attribute: field for attribute, field in columns.items() if attribute in names}

    @cached_property
    def condition_fields(self) -> frozenset[Any]:
        """The fields on which `where` depends."""
        names = self.where.referenced_base_fields
        columns = self.model._meta.concrete_fields
        return frozenset(field for field in columns if {field.name, field.attname} & names)

    @cached_property
    def compares_every_column(self) -> bool:
        """True if a change of any column is announced."""
        return self.fields is None and self.tracker is None

    @cached_property
    def tracked_attributes(self) -> frozenset[str]:
        """The attributes that the model's `FieldTracker` tracks."""
        return frozenset(self.tracker.field_map.values()) if self.tracker else frozenset()

    def _attributes(self, names: Iterable[str]) -> frozenset[str]:
        fields: Iterable[Any] = map(self.model._meta.get_field, names)
        return frozenset(field.attname for field in fields)


@cache
def event_of(verb: str, object_type: str) -> str:
    """Return the event for a verb and an object type: ``UPDATE_TICKET``."""
    return f"{verb}_{object_type}".upper().replace(".", "_").replace("-", "_")


def _is_working_tracker(value: Any) -> bool:
    """Return whether a value is a `FieldTracker` that works."""
    # A tracker that was declared on an abstract model never learns its class.
    return isinstance(value, FieldTracker) and hasattr(value, "model_class")
