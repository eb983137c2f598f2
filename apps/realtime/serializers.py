"""What clients may send. A command is validated here, once; past it, its values are what they should be."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from .registry import OWN, names, owner_type

LONGEST_REF = 64


class TextField(serializers.CharField):
    """Text, and nothing that Python can turn into text."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class RefField(serializers.Field):  # type: ignore[type-arg]  # not generic at run time
    """The client's own number or string, returned in the answer."""

    default_error_messages = {
        "invalid": f"Expected a number, or a string of at most {LONGEST_REF} characters."
    }

    def to_internal_value(self, data: Any) -> int | str:
        is_number = isinstance(data, int) and not isinstance(data, bool) and abs(data) < 2**63
        if not (is_number or (isinstance(data, str) and len(data) <= LONGEST_REF)):
            self.fail("invalid")
        return data  # type: ignore[no-any-return]


class CommandSerializer(serializers.Serializer):  # type: ignore[type-arg]  # not generic at run time
    """What every command has. A field that no command has is refused, so that a typo is noticed."""

    action = serializers.CharField(required=False)
    ref = RefField(required=False)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (unknown := sorted(set(data) - set(self.fields))):
            raise ValidationError({key: ["Unknown field."] for key in unknown})
        return super().to_internal_value(data)


class SubjectSerializer(CommandSerializer):
    """``subscribe`` and ``unsubscribe``: an object, or a collection and the object that owns it."""

    object_type = TextField(max_length=100)
    id = TextField(max_length=100, trim_whitespace=False)

    def validate_object_type(self, value: str) -> str:
        """The name of a registered type or collection."""
        if value not in names():
            raise ValidationError(f"Expected one of {', '.join(names())}.", code="unknown")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The id is one that this type's objects can have; whether one has it is asked later."""
        owner = owner_type(attrs["object_type"])
        pk = owner.key(attrs["id"])
        if pk is None:
            expected = "me" if owner is OWN else f"the id of a {owner.name}"
            raise ValidationError({"id": f"Expected {expected}."})
        return {**attrs, "pk": pk}


#: The serializer of each action.
COMMANDS: Mapping[str, type[CommandSerializer]] = {
    "subscribe": SubjectSerializer,
    "unsubscribe": SubjectSerializer,
    "ping": CommandSerializer,
    "pong": CommandSerializer,
}
