"""Object types: what can be subscribed to, who may see it, and what subscribers see of it."""

import re
import threading
import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models
from rest_framework.serializers import BaseSerializer

from ..outbox.announcers import Announcer, connect, disconnect
from . import hashids
from .exceptions import RegistrationError, UnknownObjectTypeError
from .grants import RIGHTS, rights_announcer
from .groups import stream_for


class ObjectType:
    """
    A live model. Subclass, decorate with `register`, and its changes reach whoever is subscribed.

    A subclass names the type, its DRF serializer, and who may see which objects. The model itself
    needs nothing; a `FieldTracker` on it says which fields count as a change, else all of them do.
    """

    #: What clients call it, in lower case: ``ticket``.
    name: ClassVar[str]
    #: Makes the payload, once for all subscribers. It gets no request.
    serializer_class: ClassVar[type[BaseSerializer[Any]]]
    #: Collections in which the objects are announced: name → foreign key to what owns the collection.
    collections: ClassVar[Mapping[str, str]] = {}
    #: Fields that decide, besides the collections' foreign keys, who may see an object.
    deciding: ClassVar[tuple[str, ...]] = ()
    #: Many-to-many fields whose changes are announced as an update.
    many_to_many: ClassVar[tuple[str, ...]] = ()
    #: Foreign keys to live objects whose payload shows something of these: they are announced, too.
    also: ClassVar[tuple[str, ...]] = ()
    #: Many-to-many fields to users who may see what others may not: who is taken out of one is noticed at
    #: once.
    grants: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._local = threading.local()

    @cached_property
    def model(self) -> type[models.Model]:
        """The live model: by default, the serializer's."""
        model: type[models.Model] = self.serializer_class.Meta.model  # type: ignore[attr-defined]
        return model._meta.concrete_model or model

    def visible_to(self, user: Any) -> models.QuerySet[Any]:
        """Return the objects that a user may see. Subclasses say it; nobody sees anything before."""
        return self.model._default_manager.none()

    def payload(self, instance: models.Model) -> Mapping[str, Any]:
        """Return what subscribers see of an object."""
        # As in a list, one serializer shows many objects: making its fields takes longer than using
        # them. One for each thread, since nobody promises that a serializer is safe for several.
        if not hasattr(self._local, "serializer"):
            self._local.serializer = self.serializer_class()
        return self._local.serializer.to_representation(instance)  # type: ignore[no-any-return]

    def tombstone(self, pk: Any) -> Mapping[str, Any]:
        """Return what subscribers see of an object that is gone: its id."""
        return {"id": self.public_id(pk)}

    def public_id(self, pk: Any) -> str:
        """
        Return the public id of a primary key, which may also be the text of one.

        Raises UnknownObjectTypeError if no object of this type can have it.
        """
        try:
            return hashids.encode(self.name, self.key_field.to_python(pk))
        except (ValidationError, ValueError):
            raise UnknownObjectTypeError(f"No {self.name} has the primary key {pk!r}.") from None

    def key(self, public_id: str) -> Any:
        """Return the primary key behind a public id; None if no object of this type can have it."""
        key = hashids.decode(self.name, public_id)
        is_uuid = isinstance(self.key_field, models.UUIDField)
        return key if isinstance(key, uuid.UUID) == is_uuid else None

    @property
    def can_move(self) -> bool:
        """Whether a change of an object may decide anew who sees it."""
        return bool(self.collections or self.deciding)

    @property
    def key_field(self) -> "models.Field[Any, Any]":
        """The primary key; of a model that inherits a table, its first ancestor's."""
        field: Any = self.model._meta.pk
        while field.remote_field is not None:
            field = field.target_field
        return field  # type: ignore[no-any-return]

    def streams(self, instance: Any) -> list[str]:
        """Return the streams in which an object is announced: its own, and its collections'."""
        owners = (
            (name, getattr(instance, self._attname(key))) for name, key in self.collections.items()
        )
        return [
            stream_for(self.name, instance.pk),
            *(stream_for(name, owner) for name, owner in owners if owner is not None),
        ]

    def announcer(self) -> Announcer:
        """Return what the durable half needs to know of this type."""
        return Announcer(
            object_type=self.name,
            model=self.model,
            deciding=(*self.collections.values(), *self.deciding),
            many_to_many=self.many_to_many,
            also=self.also,
            streams=self.streams,
            payload=self.payload,
            tombstone=self.tombstone,
        )

    def rights_announcers(self) -> list[Announcer]:
        """Return what the durable half needs to know of who loses rights."""
        fields: list[Any] = [self.model._meta.get_field(name) for name in self.grants]
        return [
            rights_announcer(
                field.remote_field.through,
                field.remote_field.through._meta.get_field(field.m2m_reverse_field_name()).attname,
            )
            for field in fields
        ]

    def owner_model(self, collection: str) -> type[models.Model]:
        """Return the model of the objects that own a collection of this type's objects."""
        return self.related_model(self.collections[collection])

    def related_model(self, key: str) -> type[models.Model]:
        """Return the model that a foreign key leads to."""
        return self._field(key).related_model

    def _attname(self, key: str) -> str:
        return self._field(key).attname

    def _field(self, key: str) -> "models.ForeignKey[Any, Any]":
        return self.model._meta.get_field(key)  # type: ignore[return-value]


class OwnType(ObjectType):
    """The user's own stream, ``me``: what `announce` writes to a user, and nothing else."""

    name = "me"

    @cached_property
    def model(self) -> type[models.Model]:
        return get_user_model()

    def visible_to(self, user: Any) -> models.QuerySet[Any]:
        return self.model._default_manager.filter(pk=user.pk)

    def payload(self, instance: models.Model) -> Mapping[str, Any]:
        return {"id": self.name}

    def public_id(self, pk: Any) -> str:
        # Whoever reads it knows who it is.
        return self.name

    def key(self, public_id: str) -> Any:
        return self.name if public_id == self.name else None


class RightsType(ObjectType):
    """What is announced of users' rights. Nobody can subscribe to it."""

    name = RIGHTS

    def public_id(self, pk: Any) -> str:
        return ""


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
    announcers = [kind.announcer(), *kind.rights_announcers()]
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


def names() -> list[str]:
    """Return every name that can be subscribed to: of a type, of a collection, and ``me``."""
    return sorted(
        {OWN.name, *_types, *(name for kind in _types.values() for name in kind.collections)}
    )
