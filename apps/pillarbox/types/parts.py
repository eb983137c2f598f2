"""The parts that every object type must have, with the line to write for one that is missing."""

from collections.abc import Mapping
from typing import Any

from django.db import models
from rest_framework.serializers import BaseSerializer

from ..exceptions import RegistrationError
from .object_types import ObjectType

#: Options that are several names.
NAMES = ("visibility_fields", "omit", "shows", "grants")
#: Other options, and what they are.
KINDS: dict[str, type[Any]] = {"collections": Mapping, "annotations": Mapping, "where": models.Q}


def check_parts(cls: Any) -> None:
    """
    Raise RegistrationError if an object type lacks its name, its serializer or its model.

    It is raised, too, if an option has a value of another kind than expected.
    """
    if not (isinstance(cls, type) and issubclass(cls, ObjectType)):
        raise RegistrationError(f"Expected a subclass of ObjectType, got {cls!r}.")
    if not isinstance(getattr(cls, "name", None), str):
        raise RegistrationError(f'{cls.__name__} has no name. Write, say: name = "invoice"')
    serializer = getattr(cls, "serializer_class", None)
    has_model = cls.model is not ObjectType.model
    if serializer is None:
        if not has_model or cls.payload is ObjectType.payload:
            raise RegistrationError(
                f"{cls.__name__} has no serializer_class. Write, say: "
                "serializer_class = InvoiceSerializer"
            )
    elif not (isinstance(serializer, type) and issubclass(serializer, BaseSerializer)):
        raise RegistrationError(
            f"The serializer_class of {cls.__name__} is {serializer!r}: expected a serializer's class."
        )
    elif not has_model and not hasattr(getattr(serializer, "Meta", None), "model"):
        raise RegistrationError(
            f"{cls.__name__} has no model, since {serializer.__name__} has none in its Meta. Write, say: "
            "model = Invoice"
        )
    # Without `_meta`, the property that reads the serializer's model raises AttributeError.
    model = getattr(cls(), "model", None)
    if not (isinstance(model, type) and issubclass(model, models.Model)) or model._meta.abstract:
        raise RegistrationError(
            f"The model of {cls.__name__} is no model's class with a table. Write, say: model = Invoice"
        )
    _check_kinds(cls)


def _check_kinds(cls: type[ObjectType]) -> None:
    for option in NAMES:
        value = getattr(cls, option)
        is_several = isinstance(value, list | tuple | set | frozenset)
        if not is_several or not all(isinstance(name, str) for name in value):
            raise RegistrationError(
                f"`{option}` of {cls.__name__}: expected a tuple of names, got {value!r}. "
                f'Write, say: {option} = ("name",)'
            )
    for option, expected in KINDS.items():
        if not isinstance(value := getattr(cls, option), expected):
            raise RegistrationError(
                f"`{option}` of {cls.__name__}: expected a {expected.__name__}, got {value!r}."
            )
