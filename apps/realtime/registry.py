"""Object types: what can be subscribed to, who may see it, and what subscribers see of it."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from django.db import models
from rest_framework.serializers import BaseSerializer

from ..outbox.capture import Announcer
from ..outbox.relations import connect, disconnect
from . import hashids
from .exceptions import RegistrationError, UnknownObjectTypeError
from .groups import stream_for


class ObjectType:
    """
    A live model. Subclass, decorate with `register`, and its changes reach whoever is subscribed.

    A subclass names the type, its DRF serializer, and who may see which objects.
    """

    #: What clients call it, in lower case: ``ticket``.
    name: ClassVar[str]
    #: Makes the payload, once for all subscribers. It gets no request.
    serializer_class: ClassVar[type[BaseSerializer[Any]]]
    #: Collections in which the objects are announced: name → foreign key to what owns the collection.
    collections: ClassVar[Mapping[str, str]] = {}
    #: Many-to-many fields whose changes are announced as an update.
    many_to_many: ClassVar[tuple[str, ...]] = ()

    @property
    def model(self) -> type[models.Model]:
        """The live model: by default, the serializer's."""
        return self.serializer_class.Meta.model  # type: ignore[attr-defined, no-any-return]

    def visible_to(self, user: Any) -> models.QuerySet[Any]:
        """Return the objects that a user may see. Subclasses say it; nobody sees anything before."""
        return self.model._default_manager.none()

    def payload(self, instance: models.Model) -> Mapping[str, Any]:
        """Return what subscribers see of an object."""
        return self.serializer_class(instance).data  # type: ignore[no-any-return]

    def tombstone(self, pk: Any) -> Mapping[str, Any]:
        """Return what subscribers see of an object that is gone: its id."""
        return {"id": hashids.encode(self.name, pk)}

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
            deciding=frozenset(map(self._attname, self.collections.values())),
            many_to_many=self.many_to_many,
            streams=self.streams,
            payload=self.payload,
            tombstone=self.tombstone,
        )

    def owner_model(self, collection: str) -> type[models.Model]:
        """Return the model of the objects that own a collection of this type's objects."""
        return self._field(self.collections[collection]).related_model

    def _attname(self, key: str) -> str:
        return self._field(key).attname

    def _field(self, key: str) -> "models.ForeignKey[Any, Any]":
        return self.model._meta.get_field(key)  # type: ignore[return-value]


T = TypeVar("T", bound=type[ObjectType])
_types: dict[str, ObjectType] = {}


def register(cls: T) -> T:
    """Register an object type. Raises RegistrationError if its name is taken or its key no integer."""
    kind = cls()
    taken = {*_types, *(name for known in _types.values() for name in known.collections)}
    if clash := sorted(taken & {kind.name, *kind.collections}):
        raise RegistrationError(f"The object type {clash[0]} is registered already.")
    if not isinstance(kind.model._meta.pk, models.IntegerField):
        raise RegistrationError(f"{kind.model.__name__} has no integer primary key.")
    _types[kind.name] = kind
    connect(kind.model, kind.announcer())
    return cls


def unregister(name: str) -> None:
    """Take back `register`: no change of the type is announced, nothing of it can be published."""
    disconnect(_types.pop(name).model)


def object_type(name: str) -> ObjectType:
    """Return a registered type of objects. Raises UnknownObjectTypeError."""
    try:
        return _types[name]
    except KeyError:
        raise UnknownObjectTypeError(f"The object type {name!r} is not registered.") from None


def owner_type(name: str) -> ObjectType:
    """
    Return the type of the objects that a subscription to ``name`` is about.

    The type itself, or for a collection (``project.tickets``) the type of its owner (``project``):
    whose hashid the client sends, and who decides who may see it. Raises UnknownObjectTypeError.
    """
    for kind in _types.values():
        if name in kind.collections:
            model = kind.owner_model(name)
            owners = [owner for owner in _types.values() if owner.model is model]
            if not owners:
                raise UnknownObjectTypeError(f"The owner of {name!r} is of no registered type.")
            return owners[0]
    return object_type(name)


def names() -> list[str]:
    """Return every name of a type or a collection."""
    return sorted({*_types, *(name for kind in _types.values() for name in kind.collections)})
