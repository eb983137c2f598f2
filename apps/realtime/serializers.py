"""What clients may send. A command is validated here, once; past it, its values are what they should be."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.fields import empty
from rest_framework.settings import api_settings

from .conf import realtime_settings
from .registry import OWN, names, owner_type

LONGEST_REF = 64


class TextField(serializers.CharField):
    """Text, and nothing that Python can turn into text."""

    default_error_messages = {"invalid": "Expected a string."}

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


class StrictSerializer(serializers.Serializer):  # type: ignore[type-arg]  # not generic at run time
    """A JSON object. A field that it doesn't have is refused, so that a typo is noticed."""

    @classmethod
    def described(cls) -> str:
        """Return what is expected, in words: an object with the fields that it must have."""
        fields = cls().fields.items()
        return f"an object with {' and '.join(name for name, field in fields if field.required)}"

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        if data is not empty and not isinstance(data, Mapping):
            expected = f"Expected {self.described()}."
            raise ValidationError({api_settings.NON_FIELD_ERRORS_KEY: [expected]})
        return super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        if unknown := sorted(set(data) - set(self.fields)):
            raise ValidationError({key: ["Unknown field."] for key in unknown})
        return super().to_internal_value(data)


class CommandSerializer(StrictSerializer):
    """What every command has."""

    action = serializers.CharField(required=False)
    ref = RefField(required=False)


class SubjectSerializer(StrictSerializer):
    """An object, or a collection and the object that owns it."""

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


class OffsetField(serializers.Field):  # type: ignore[type-arg]  # not generic at run time
    """An offset, and nothing that Python can turn into a number."""

    default_error_messages = {"invalid": "Expected a whole number, 0 or more."}

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool) or not 0 <= data < 2**63:
            self.fail("invalid")
        return data


class FlagField(serializers.Field):  # type: ignore[type-arg]  # not generic at run time
    """True or false, and nothing that stands for one."""

    default_error_messages = {"invalid": "Expected true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class PositionSerializer(StrictSerializer):
    """A position, as the server said it."""

    epoch = TextField(max_length=64)
    offset = OffsetField()


class EntrySerializer(SubjectSerializer):
    """A subscription: from which position on, and whether to send the present state, too."""

    since = PositionSerializer(required=False)
    snapshot = FlagField(default=False)


class SubscribeSerializer(CommandSerializer, EntrySerializer):
    """``subscribe``, once."""


_SEVERAL = f"Expected a list, each entry {EntrySerializer.described()}."


class SeveralSerializer(CommandSerializer):
    """``subscribe``, several times. Each entry is validated, and answered, on its own."""

    subscriptions = serializers.ListField(
        allow_empty=False,
        error_messages={
            **dict.fromkeys(("not_a_list", "null"), _SEVERAL),
            "empty": "Expected one entry at least.",
        },
    )

    def validate_subscriptions(self, value: list[Any]) -> list[Any]:
        """As many as a socket may have."""
        if len(value) > (most := realtime_settings().SUBSCRIPTIONS):
            raise ValidationError(f"Expected {most} at most.")
        return value


class UnsubscribeSerializer(CommandSerializer, SubjectSerializer):
    """``unsubscribe``."""


#: The serializer of each action. ``subscribe`` has another one for several.
COMMANDS: Mapping[str, type[CommandSerializer]] = {
    "subscribe": SubscribeSerializer,
    "unsubscribe": UnsubscribeSerializer,
    "ping": CommandSerializer,
    "pong": CommandSerializer,
}
