"""The registry of object types, and look-ups by name, model and collection."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from django.db import models

from ..exceptions import RegistrationError, UnknownObjectTypeError
from ..models import RIGHTS
from .announcers import Announcer
from .declarations import check_declaration
from .grants import SESSION, USER
from .groups import parse_stream, stream_for
from .live_models import register_announcer, unregister_announcer
from .object_types import ObjectType
from .own_type import OwnType
from .parts import check_parts
from .refusals import collected

__all__ = [
    "OWN",
    "ObjectType",
    "guards",
    "object_type",
    "object_types",
    "owner_paths",
    "owner_type",
    "register",
    "register_early",
    "subscribable_names",
    "type_of_collection",
    "types_of",
    "unregister",
]

OWN = OwnType()
#: The pattern of names. An event is a verb and the name, in at most 100 characters.
NAME = re.compile(r"[a-z][a-z0-9_.-]{0,89}")

T = TypeVar("T", bound=type[ObjectType])
_types: dict[str, ObjectType] = {}
#: Types that wait until all models are loaded: before, relations of their models aren't known.
_early: list[ObjectType] = []
_announcers: dict[str, list[Announcer]] = {}


def register(cls: T) -> T:
    """
    Register an object type: a class decorator. In a `models.py` it takes effect when all models are loaded.

    Raises RegistrationError if the name is invalid or taken, or as `check_parts` and `check_declaration` do.
    While Django starts, the error is collected instead: `manage.py check` shows it.
    """
    with collected():
        check_parts(cls)
        kind = cls()
        if kind.model._meta.apps.models_ready:
            _register(kind)
        else:
            _early.append(kind)
    return cls


def register_early() -> None:
    """Register the types that were declared before all models were loaded. Raises as `register` does."""
    while _early:
        with collected():
            _register(_early.pop(0))


def _register(kind: ObjectType) -> None:
    if not NAME.fullmatch(kind.name):
        raise RegistrationError(
            f"Expected a name such as ticket or ticket.brief, got {kind.name!r}."
        )
    taken = {
        OWN.name,
        RIGHTS,
        SESSION,
        USER,
        *_types,
        *(name for known in _types.values() for name in known.collections),
    }
    if clash := sorted(taken & {kind.name, *kind.collections}):
        raise RegistrationError(
            f"The object type {clash[0]} is registered already: {type(kind).__name__} needs another name."
        )
    check_declaration(kind)
    own = replace(kind.announcer(), guards=partial(guards, kind))
    announcers = [own, *kind.rights_announcers()]
    for announcer in announcers:
        register_announcer(announcer)
    _types[kind.name], _announcers[kind.name] = kind, announcers


def unregister(name: str) -> None:
    """Undo `register`: changes are no longer announced, and rows of the type can't be published."""
    del _types[name]
    for announcer in _announcers.pop(name):
        unregister_announcer(announcer)


def object_type(name: str) -> ObjectType:
    """Return a registered object type, or the type ``me``. Raises UnknownObjectTypeError."""
    if name == OWN.name:
        return OWN
    try:
        return _types[name]
    except KeyError:
        raise UnknownObjectTypeError(f"The object type {name!r} is not registered.") from None


def object_types() -> list[ObjectType]:
    """Return the registered types."""
    return list(_types.values())


def types_of(model: type[models.Model]) -> list[ObjectType]:
    """Return the registered types of a model, or of the concrete model of a proxy."""
    return [kind for kind in _types.values() if kind.model is model._meta.concrete_model]


def type_of_collection(name: str) -> tuple[ObjectType, str] | None:
    """Return the type of a collection's objects, and their foreign key to its owner; None for other names."""
    found = ((kind, kind.collections[name]) for kind in _types.values() if name in kind.collections)
    return next(found, None)


def owner_type(name: str) -> ObjectType:
    """
    Return the type whose public id a subscription to ``name`` needs, and whose permission it checks.

    That is the type of this name. For a collection (``project.tickets``), it is its owner's type
    (``project``). Raises UnknownObjectTypeError.
    """
    if (found := type_of_collection(name)) is None:
        return object_type(name)
    kind, _ = found
    owners = types_of(kind.owner_model(name))
    if not owners:
        raise UnknownObjectTypeError(f"The owner of {name!r} is of no registered type.")
    return owners[0]


def owner_paths(
    kind: ObjectType, seen: tuple[type[models.Model], ...] = ()
) -> Iterator[tuple[str, str]]:
    """Yield the foreign-key paths from a type to its owners, and to their owners, each with its type."""
    for name, link in kind.collections.items():
        owner = owner_type(name)
        yield link, owner.name
        if owner.model not in (*seen, kind.model):
            for path, above in owner_paths(owner, (*seen, kind.model)):
                yield f"{link}__{path}", above


def guards(kind: ObjectType, stream: str, instance: Any) -> list[str]:
    """
    Return the streams whose moves can change which users may read ``stream``.

    ``stream`` is one in which objects of this type are announced. For an object's own stream, these are
    that stream and its owners' streams; ``instance`` is the object, or None if it was deleted. For a
    collection's stream, it is the owner's stream.
    """
    name, pk = parse_stream(stream)
    if name in kind.collections:
        owners = types_of(kind.owner_model(name))[:1]
        return [stream_for(owner.name, pk) for owner in owners if owner.can_move]
    above = [] if instance is None else [s for s in kind.streams(instance) if s != stream]
    own = [stream] if kind.can_move else []
    return [*own, *(guard for s in above for guard in guards(kind, s, None))]


def subscribable_names() -> list[str]:
    """Return every name that clients can subscribe to: types, collections, and ``me``."""
    return sorted(
        {OWN.name, *_types, *(name for kind in _types.values() for name in kind.collections)}
    )
