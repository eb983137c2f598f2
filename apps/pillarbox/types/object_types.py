"""Object types: the payload, visibility and collections of live models. `registry` registers them."""

import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, models
from rest_framework.serializers import BaseSerializer

from ..exceptions import UnknownObjectTypeError
from . import hashids
from .announcers import Announcer
from .current_rows import read_shown
from .grants import link_to_users, relation_announcers
from .groups import stream_for
from .payload_fields import payload_fields


class ObjectType:
    """
    The base class of object types. A subclass, decorated with `register`, makes its model live.

    A subclass declares the type's name, its DRF serializer, and the objects that a user may see. The
    model needs no change. If it has a `FieldTracker`, only the tracked fields count as a change.
    """

    #: The type's name for clients, in lower case: ``ticket``.
    name: ClassVar[str]
    #: Renders the payload, once for all subscribers and without a request.
    serializer_class: ClassVar[type[BaseSerializer[Any]]]
    #: The condition, over a row's own columns, that it fulfils as long as it is an object of this type. If it
    #: stops or begins to fulfil it, that is announced as a deletion or a creation.
    where: ClassVar[models.Q] = models.Q()
    #: Collections in which the objects are announced: name → foreign key to the collection's owner.
    collections: ClassVar[Mapping[str, str]] = {}
    #: Fields that affect, besides the collections' foreign keys, which users may see an object.
    visibility_fields: ClassVar[tuple[str, ...]] = ()
    #: Fields that the payload doesn't contain, such as large texts: images omit them.
    omit: ClassVar[tuple[str, ...]] = ()
    #: What the payload shows of other rows: ``members`` (which rows are related), ``members__username`` (also
    #: a column of theirs), ``items__*`` (whatever their own type announces). Their changes are updates of the
    #: object, and they are read once for many objects.
    shows: ClassVar[tuple[str, ...]] = ()
    #: Values that a query computes when the payload is rendered: attribute → expression for `annotate`.
    annotations: ClassVar[Mapping[str, Any]] = {}
    #: Relations whose users may see the object, as a filter names them: ``members``, ``team__members``,
    #: ``team__memberships__user``. Removing a user from one takes effect on open sockets at once.
    grants: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._local = threading.local()

    @cached_property
    def model(self) -> type[models.Model]:
        """Return the live model: by default, the serializer's."""
        model: type[models.Model] = self.serializer_class.Meta.model  # type: ignore[attr-defined]
        return model._meta.concrete_model or model

    def visible_to(self, user: Any) -> models.QuerySet[Any]:
        """Return the objects that a user may see. Subclasses override it; by default there are none."""
        return self.model._default_manager.none()

    def readable_by(self, user: Any) -> models.QuerySet[Any]:
        """Return the objects of `visible_to` that fulfil `where`."""
        return self.visible_to(user).filter(self.where)

    def payload(self, instance: models.Model) -> Mapping[str, Any]:
        """Return the payload for an object."""
        # As in a list, one serializer renders many objects: making its fields takes longer than using
        # them. Each thread has its own, since serializers aren't documented as thread-safe.
        if not hasattr(self._local, "serializer"):
            self._local.serializer = self.serializer_class()
        return self._local.serializer.to_representation(instance)  # type: ignore[no-any-return]

    def tombstone(self, pk: Any) -> Mapping[str, Any]:
        """Return the payload for a deleted object: its id."""
        return {"id": self.public_id(pk)}

    def public_id(self, pk: Any) -> str:
        """
        Return the public id for a primary key, or for a primary key's text.

        Raises UnknownObjectTypeError if no object of this type can have that key.
        """
        try:
            return hashids.encode(self.name, self.key_field.to_python(pk))
        except (ValidationError, ValueError):
            raise UnknownObjectTypeError(f"No {self.name} has the primary key {pk!r}.") from None

    def key(self, public_id: str) -> Any:
        """Return the primary key for a public id; None if no object of this type can have that id."""
        key = hashids.decode(self.name, public_id)
        is_uuid = isinstance(self.key_field, models.UUIDField)
        return key if isinstance(key, uuid.UUID) == is_uuid else None

    @property
    def can_move(self) -> bool:
        """Return whether a change of an object can change which users may see it."""
        return bool(self.collections or self.visibility_fields or list(self._granting_links()))

    @property
    def key_field(self) -> "models.Field[Any, Any]":
        """Return the primary key's field; with multi-table inheritance, the topmost parent's."""
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
        """Return this type's description for the outbox."""
        return Announcer(
            object_type=self.name,
            model=self.model,
            move_fields=(
                *self.collections.values(),
                *self.visibility_fields,
                *self._granting_links(),
            ),
            shows=self.shows,
            annotations=self.annotations,
            where=self.where,
            streams=self.streams,
            stream_keys=(
                (self.name, self.model._meta.pk.attname),
                *((name, self._attname(key)) for name, key in self.collections.items()),
            ),
            omit=self.omit,
            payload_fields=self.payload_fields,
            payload=self.payload,
            tombstone=self.tombstone,
        )

    def read_shown(self, instances: Sequence[Any]) -> None:
        """Read what the payloads of objects show besides the objects' own columns, in a few queries."""
        read_shown(self._announcer, instances, DEFAULT_DB_ALIAS)

    @cached_property
    def _announcer(self) -> Announcer:
        return self.announcer()

    def payload_fields(self) -> frozenset[str] | None:
        """Return the names of the model fields that the payload contains; None if unknown."""
        if type(self).payload is not ObjectType.payload:
            return None
        found = payload_fields(self.serializer_class, self.model, self.annotations)
        return None if found is None else found.difference(self.annotations)

    def rights_announcers(self) -> list[Announcer]:
        """Return the announcers that write ends of rights when users leave the relations of `grants`."""
        return [
            announcer
            for name in self.grants
            for announcer in relation_announcers(link_to_users(self.model, name))
        ]

    def _granting_links(self) -> Iterator[str]:
        """Yield the model's own foreign keys with which relations in `grants` begin."""
        columns = {field.name for field in self.model._meta.concrete_fields}
        for name in self.grants:
            first, *further = name.split("__")
            if further and first in columns:
                yield first

    def owner_model(self, collection: str) -> type[models.Model]:
        """Return the model of a collection's owners."""
        return self._field(self.collections[collection]).related_model

    def _attname(self, key: str) -> str:
        return self._field(key).attname

    def _field(self, key: str) -> "models.ForeignKey[Any, Any]":
        return self.model._meta.get_field(key)  # type: ignore[return-value]
