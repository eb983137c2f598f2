"""DRF fields for public ids."""

from typing import Any

from rest_framework import serializers

from . import hashids
from .registry import object_type


class HashidField(serializers.Field):  # type: ignore[type-arg]  # not generic at run time
    """A read-only field with an object's own public id."""

    def __init__(self, object_type: str, **kwargs: Any) -> None:
        super().__init__(read_only=True, source="pk", **kwargs)
        self.object_type = object_type

    def to_representation(self, value: Any) -> str:
        return hashids.encode(self.object_type, value)


class HashidRelatedField(serializers.RelatedField):  # type: ignore[type-arg]  # not generic at run time
    """
    A field with the public id of a related object, whose type is registered.

    An object that the request's user may not see is rejected with the same error as a missing one.
    """

    default_error_messages = {"not_found": "Expected the id of a {object_type} that you can see."}

    def __init__(self, object_type: str, **kwargs: Any) -> None:
        self.object_type = object_type
        super().__init__(**kwargs)

    def get_queryset(self) -> Any:
        return object_type(self.object_type).readable_by(self.context["request"].user)

    def use_pk_only_optimization(self) -> bool:
        return True

    def to_representation(self, value: Any) -> str:
        return hashids.encode(self.object_type, value.pk)

    def to_internal_value(self, data: Any) -> Any:
        pk = object_type(self.object_type).key(data) if isinstance(data, str) else None
        found = None if pk is None else self.get_queryset().filter(pk=pk).first()
        if found is None:
            self.fail("not_found", object_type=self.object_type)
        return found
