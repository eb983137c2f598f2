"""The object whose rows are erased, by all names under which it is announced."""

import json
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, router

from ..exceptions import UnknownObjectTypeError
from ..types.groups import stream_for
from ..types.registry import OWN, ObjectType, object_type, object_types


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The object whose rows are erased."""

    #: The types of its model. With multi-table inheritance also those of the other tables of the same object.
    object_types: list[str]
    #: The primary key as text.
    object_id: str
    #: For each type, the payload that has only the public id, as JSON text. It holds nothing to erase.
    bare_payloads: list[str]
    #: The stream of its own, under the name that was asked for.
    stream: str
    #: The database with its rows.
    using: str


def subject_of(name: str, pk: Any) -> Subject:
    """
    Return the object of a type, or a user as ``me``, by primary key. The object may be deleted already.

    Raises UnknownObjectTypeError if the type isn't registered, or if its objects can't have this key.
    """
    kind = object_type(name)
    key = primary_key(kind, pk)
    if key is None:
        raise UnknownObjectTypeError(f"No {name} has the primary key {pk!r}.")
    kinds = [one for one in (OWN, *object_types()) if _topmost(one.model) is _topmost(kind.model)]
    return Subject(
        object_types=[one.name for one in kinds],
        object_id=str(key),
        bare_payloads=[json.dumps({"id": one.public_id(key)}) for one in kinds],
        stream=stream_for(name, key),
        using=router.db_for_write(kind.model),
    )


def primary_key(kind: ObjectType, text: Any) -> Any:
    """Return the primary key that a text spells; None if no object of the type can have it."""
    try:
        return kind.key_field.to_python(text)
    except ValidationError:
        return None


def _topmost(model: type[models.Model]) -> type[models.Model]:
    """Return the topmost ancestor whose primary keys are the model's, by multi-table inheritance."""
    while (relation := model._meta.pk.remote_field) is not None and relation.parent_link:
        model = relation.model
    return model
