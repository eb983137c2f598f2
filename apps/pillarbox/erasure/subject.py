"""The objects whose rows are erased, by all names under which they are announced."""

import json
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, router

from ..exceptions import UnknownObjectTypeError
from ..types.groups import stream_for
from ..types.registry import OWN, ObjectType, object_type, object_types
from .showing import objects_showing, topmost


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The objects whose rows are erased: those that were asked for, and those that show them."""

    #: Type and key of each object: ``ticket:17``; with multi-table inheritance, also by its other types.
    names: list[str]
    #: For each name, the payload that has only the public id, as JSON text. It holds nothing to erase.
    bare_payloads: list[str]
    #: The objects' own streams, under the name that was asked for.
    streams: list[str]
    #: How many objects show them.
    showing: int
    #: The database with the rows.
    using: str


def subject_of(name: str, *pks: Any) -> Subject:
    """
    Return objects of a type, or users as ``me``, by primary key. They may be deleted already.

    Raises UnknownObjectTypeError if the type isn't registered, or if its objects can't have such a key.
    """
    kind = object_type(name)
    using = router.db_for_write(kind.model)
    keys = [primary_key(kind, pk) for pk in pks]
    if None in keys:
        raise UnknownObjectTypeError(f"No {name} has the primary key {pks[keys.index(None)]!r}.")
    showing = list(objects_showing(kind.model, keys, using))
    rows = [*((kind.model, key) for key in keys), *showing]
    names = [(one, key) for model, key in rows for one in _types(model)]
    return Subject(
        names=[f"{one.name}:{key}" for one, key in names],
        # As PostgreSQL writes it.
        bare_payloads=[
            json.dumps({"id": one.public_id(key)}, ensure_ascii=False) for one, key in names
        ],
        streams=[stream_for(name, key) for key in keys],
        showing=len(showing),
        using=using,
    )


def primary_key(kind: ObjectType, text: Any) -> Any:
    """Return the primary key that a text spells; None if no object of the type can have it."""
    try:
        return kind.key_field.to_python(text)
    except ValidationError:
        return None


def _types(model: type[models.Model]) -> list[ObjectType]:
    return [one for one in (OWN, *object_types()) if topmost(one.model) is topmost(model)]
