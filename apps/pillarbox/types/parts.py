"""The parts that every object type must have, with the line to write for one that is missing."""

from typing import Any

from rest_framework.serializers import BaseSerializer

from ..exceptions import RegistrationError
from .object_types import ObjectType


def check_parts(cls: Any) -> None:
    """Raise RegistrationError if an object type lacks its name, its serializer or its model."""
    if not (isinstance(cls, type) and issubclass(cls, ObjectType)):
        raise RegistrationError(f"Expected a subclass of ObjectType, got {cls!r}.")
    if not isinstance(getattr(cls, "name", None), str):
        raise RegistrationError(f'{cls.__name__} has no name. Write, say: name = "invoice"')
    serializer = getattr(cls, "serializer_class", None)
    has_model = cls.model is not ObjectType.model
    if serializer is None:
        if has_model and cls.payload is not ObjectType.payload:
            return
        raise RegistrationError(
            f"{cls.__name__} has no serializer_class. Write, say: serializer_class = InvoiceSerializer"
        )
    if not (isinstance(serializer, type) and issubclass(serializer, BaseSerializer)):
        raise RegistrationError(
            f"The serializer_class of {cls.__name__} is {serializer!r}: expected a serializer's class."
        )
    if not has_model and not hasattr(getattr(serializer, "Meta", None), "model"):
        raise RegistrationError(
            f"{cls.__name__} has no model, since {serializer.__name__} has none in its Meta. Write, say: "
            "model = Invoice"
        )
