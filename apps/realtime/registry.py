"""The registry: which object types there are, and which of them a name stands for."""

import re
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.db import models

from ..outbox.announcers import Announcer, connect, disconnect
from .exceptions import RegistrationError, UnknownObjectTypeError
from .grants import RIGHTS
from .groups import parse_stream, stream_for
from .object_types import ObjectType, OwnType, RightsType

#: With `ObjectType`, so that who registers one needs no other module.
__all__ = [
    "OWN",
    "ObjectType",
    "guards",
    "kind_of_collection",
    "kinds",
    "names",
    "object_type",
    "owner_type",
    "register",
    "types_of",
    "unregister",
]

OWN = OwnType()
_RIGHTS = RightsType()
#: Names of types. An event has a verb and the name, in at most 100 characters.
NAME = re.compile(r"[a-z][a-z0-9_.-]{0,89}")

T = TypeVar("T", bound=type[ObjectType])
_types: dict[str, ObjectType] = {}
_announcers: dict[str, list[Announcer]] = {}


def register(cls: T) -> T:
    """
    Register an object type.

    Raises RegistrationError if its name is taken or none, its key has no public id, or it names fields
    that are none or can't be what it names them for.
    """
    kind = cls()
    if not NAME.fullmatch(kind.name):
        raise RegistrationError(
            f"Expected a name such as ticket or ticket.brief: got {kind.name!r}."
        )
    taken = {
        OWN.name,
        RIGHTS,
        *_types,
        *(name for known in _types.values() for name in known.collections),
    }
    if clash := sorted(taken & {kind.name, *kind.collections}):
        raise RegistrationError(f"The object type {clash[0]} is registered already.")
    if not isinstance(kind.key_field, (models.IntegerField, models.UUIDField)):
        raise RegistrationError(f"{kind.model.__name__} has no integer or UUID as primary key.")
    _refuse_other_fields(kind)
    own = replace(kind.announcer(), guards=partial(guards, kind))
    announcers = [own, *kind.rights_announcers()]
    for announcer in announcers:
        connect(announcer)
    _types[kind.name], _announcers[kind.name] = kind, announcers
    return cls


def _refuse_other_fields(kind: ObjectType) -> None:
    fields = {field.name: field for field in kind.model._meta.fields}
    for name in (*kind.collections.values(), *kind.also):
        link: Any = fields.get(name)
        # An owner's stream and public id are made of its primary key.
        if link is None or link.remote_field is None or not link.target_field.primary_key:
            raise RegistrationError(
                f"{kind.model.__name__}.{name} is no foreign key to a primary key: {kind.name} names it."
            )
    columns = {field.name for field in kind.model._meta.concrete_fields}
    if unknown := sorted(set(kind.deciding) - columns):
        raise RegistrationError(
            f"{kind.model.__name__}.{unknown[0]} is no field with a column: {kind.name} names it."
        )
    relations = {field.name: field.related_model for field in kind.model._meta.many_to_many}
    if unknown := sorted({*kind.many_to_many, *kind.grants} - relations.keys()):
        raise RegistrationError(
            f"{kind.model.__name__}.{unknown[0]} is no many-to-many field: {kind.name} names it."
        )
    if others := [name for name in kind.grants if relations[name] is not get_user_model()]:
        raise RegistrationError(
            f"{kind.model.__name__}.{others[0]} is not about users: {kind.name} grants by it."
        )


def unregister(name: str) -> None:
    """Take back `register`: no change of the type is announced, nothing of it can be published."""
    del _types[name]
    for announcer in _announcers.pop(name):
        disconnect(announcer)


def object_type(name: str) -> ObjectType:
    """Return a registered type of objects, ``me`` or ``rights``. Raises UnknownObjectTypeError."""
    if name in (OWN.name, RIGHTS):
        return OWN if name == OWN.name else _RIGHTS
    try:
        return _types[name]
    except KeyError:
        raise UnknownObjectTypeError(f"The object type {name!r} is not registered.") from None


def kinds() -> list[ObjectType]:
    """Return the registered types."""
    return list(_types.values())


def types_of(model: type[models.Model]) -> list[ObjectType]:
    """Return the registered types whose objects are rows of a model; a proxy stands for its own."""
    return [kind for kind in _types.values() if kind.model is model._meta.concrete_model]


def kind_of_collection(name: str) -> tuple[ObjectType, str] | None:
    """Return the type of a collection's objects, and their foreign key to its owner; None if it is none."""
    found = ((kind, kind.collections[name]) for kind in _types.values() if name in kind.collections)
    return next(found, None)


def owner_type(name: str) -> ObjectType:
    """
    Return the type of the objects that a subscription to ``name`` is about.

    The type itself, or for a collection (``project.tickets``) the type of its owner (``project``):
    whose hashid the client sends, and who decides who may see it. Raises UnknownObjectTypeError.
    """
    if (found := kind_of_collection(name)) is None:
        return object_type(name)
    kind, _ = found
    owners = types_of(kind.owner_model(name))
    if not owners:
        raise UnknownObjectTypeError(f"The owner of {name!r} is of no registered type.")
    return owners[0]


def guards(kind: ObjectType, stream: str, instance: Any) -> list[str]:
    """
    Return the streams whose moves decide anew who may read a stream in which a type's objects are announced.

    Of an object's own: that stream, and those of what it is seen through; ``instance`` is the object, or
    None if it is gone. Of a collection: its owner's.
    """
    name, pk = parse_stream(stream)
    if name in kind.collections:
        owners = types_of(kind.owner_model(name))[:1]
        return [stream_for(owner.name, pk) for owner in owners if owner.can_move]
    above = [] if instance is None else [s for s in kind.streams(instance) if s != stream]
    own = [stream] if kind.can_move else []
    return [*own, *(guard for s in above for guard in guards(kind, s, None))]


def names() -> list[str]:
    """Return every name that can be subscribed to: of a type, of a collection, and ``me``."""
    return sorted(
        {OWN.name, *_types, *(name for kind in _types.values() for name in kind.collections)}
    )
