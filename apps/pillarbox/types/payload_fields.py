"""The fields of a model that a serializer's output depends on."""

from collections.abc import Collection
from typing import Any

from django.db import models
from rest_framework.serializers import BaseSerializer, Serializer


def payload_fields(
    serializer_class: type[BaseSerializer[Any]],
    model: type[models.Model],
    annotations: Collection[str] = (),
) -> frozenset[str] | None:
    """
    Return the names of model fields and annotations that a serializer's output contains; None if unknown.

    They are unknown if the serializer overrides `to_representation`, or if one of its fields reads the
    whole object or an attribute that is neither a model field nor an annotation.
    """
    serializer: Any = serializer_class()
    if getattr(type(serializer), "to_representation", None) is not Serializer.to_representation:
        return None
    fields: Any = model._meta.get_fields()
    names = {"pk", *annotations, *(field.name for field in fields)}
    names |= {field.attname for field in model._meta.concrete_fields}
    sources = {_source(field) for field in serializer.fields.values() if not field.write_only}
    return frozenset(sources) if sources <= names else None


def _source(field: Any) -> str:
    """Return the attribute that a serializer's field reads; "*" for the whole object."""
    return str(field.source.partition(".")[0]) if reads_its_source(field) else "*"


def reads_its_source(field: Any) -> bool:
    """Return whether a serializer's field reads the attributes of its source, as those of DRF do."""
    module: str = type(field).get_attribute.__module__
    return module.startswith("rest_framework.")
