"""Object types: what their subscribers see, and who may see it. One is registered in `registry`."""

import threading
import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models
from rest_framework.serializers import BaseSerializer

from ..outbox.announcers import Announcer
from . import hashids
from .exceptions import UnknownObjectTypeError
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
    #: Fields that the payload shows nothing of, such as large texts: an image leaves them out.
    omit: ClassVar[tuple[str, ...]] = ()
    #: Relations that the payload shows, as `prefetch_related` names them: read once for many objects.
    prefetch: ClassVar[tuple[str, ...]] = ()
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
            placed_by=(
                (self.name, self.model._meta.pk.attname),
                *((name, self._attname(key)) for name, key in self.collections.items()),
            ),
            prefetch=self.prefetch,
            # A user's password is in no image, whatever the serializer shows.
            omit=(*self.omit, *(("password",) if self.model is get_user_model() else ())),
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
