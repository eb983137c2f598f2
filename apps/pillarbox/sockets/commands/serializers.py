"""DRF serializers of the clients' commands. No other module validates commands."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.fields import empty
from rest_framework.settings import api_settings

from ...conf import pillarbox_settings
from ...types.registry import OWN, owner_type, subscribable_names

LONGEST_REF = 64
#: The number of unknown fields that an error names. Without a limit, the answer would cost more than the
#: command.
UNKNOWN_FIELDS = 10


class CommandName(StrEnum):
    """The commands, by the name that clients send as ``action``."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    PING = "ping"
    PONG = "pong"


class TextField(serializers.CharField):
    """A string. Rejects numbers and booleans, which DRF would convert."""

    default_error_messages = {"invalid": "Expected a string."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class RefField(serializers.Field):  # type: ignore[type-arg]  # not generic at run time
    """The client's own number or string for a command, returned in its answer."""

    default_error_messages = {
        "invalid": f"Expected a number, or a string of at most {LONGEST_REF} characters."
    }

    def to_internal_value(self, data: Any) -> int | str:
        is_number = isinstance(data, int) and not isinstance(data, bool) and abs(data) < 2**63
        if not (is_number or (isinstance(data, str) and len(data) <= LONGEST_REF)):
            self.fail("invalid")
        return data  # type: ignore[no-any-return]


class StrictSerializer(serializers.Serializer):  # type: ignore[type-arg]  # not generic at run time
    """A JSON object. Unknown fields are rejected, so that a typo is noticed."""

    def described(self) -> str:
        """Describe the expected object, with its required fields, for error messages."""
        fields = self.fields.items()
        return f"an object with {' and '.join(name for name, field in fields if field.required)}"

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        if data is not empty and not isinstance(data, Mapping):
            expected = f"Expected {self.described()}."
            raise ValidationError({api_settings.NON_FIELD_ERRORS_KEY: [expected]})
        return super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        if unknown := sorted(set(data) - set(self.fields)):
            named = unknown[:UNKNOWN_FIELDS]
            raise ValidationError({key: ["Unknown field."] for key in named})
        return super().to_internal_value(data)


class CommandSerializer(StrictSerializer):
    """The fields that every command has."""

    action = serializers.CharField(required=False)
    ref = RefField(required=False)


class SubjectSerializer(StrictSerializer):
    """An object, or a collection and its owner."""

    object_type = TextField(max_length=100)
    id = TextField(max_length=100, trim_whitespace=False)

    def validate_object_type(self, value: str) -> str:
        """Require the name of a registered type or collection."""
        if value not in subscribable_names():
            raise ValidationError(
                f"Expected one of {', '.join(subscribable_names())}.", code="unknown"
            )
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Require a well-formed id, and add its primary key. Whether the object exists is checked later."""
        owner = owner_type(attrs["object_type"])
        pk = owner.key(attrs["id"])
        if pk is None:
            expected = "me" if owner is OWN else f"the id of a {owner.name}"
            raise ValidationError({"id": f"Expected {expected}."})
        return {**attrs, "pk": pk}


class OffsetField(serializers.Field):  # type: ignore[type-arg]  # not generic at run time
    """An offset. Rejects strings and booleans, which DRF would convert."""

    default_error_messages = {"invalid": "Expected a whole number, 0 or more."}

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool) or not 0 <= data < 2**63:
            self.fail("invalid")
        return data


class FlagField(serializers.Field):  # type: ignore[type-arg]  # not generic at run time
    """A JSON boolean. Rejects the strings and numbers that DRF would convert."""

    default_error_messages = {"invalid": "Expected true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class PositionSerializer(StrictSerializer):
    """A position, as the server sent it earlier."""

    epoch = TextField(max_length=64)
    offset = OffsetField()


class EntrySerializer(SubjectSerializer):
    """A subscribe request, with an optional position to resume from. ``snapshot`` requests the state."""

    since = PositionSerializer(required=False)
    snapshot = FlagField(default=False)


class SubscribeSerializer(CommandSerializer, EntrySerializer):
    """The command ``subscribe`` with one subscription."""


_SEVERAL = f"Expected a list, each entry {EntrySerializer().described()}."


class SeveralSerializer(CommandSerializer):
    """The command ``subscribe`` with several entries, each of them validated and answered separately."""

    subscriptions = serializers.ListField(
        allow_empty=False,
        error_messages={
            **dict.fromkeys(("not_a_list", "null"), _SEVERAL),
            "empty": "Expected one entry at least.",
        },
    )

    def validate_subscriptions(self, value: list[Any]) -> list[Any]:
        """Reject more entries than a socket may have subscriptions."""
        if len(value) > (most := pillarbox_settings().SUBSCRIPTIONS):
            raise ValidationError(f"Expected {most} entries at most.")
        return value


class UnsubscribeSerializer(CommandSerializer, SubjectSerializer):
    """The command ``unsubscribe``."""


#: The serializer of each command. `SeveralSerializer` replaces ``subscribe``'s if there is a list.
COMMANDS: Mapping[CommandName, type[CommandSerializer]] = {
    CommandName.SUBSCRIBE: SubscribeSerializer,
    CommandName.UNSUBSCRIBE: UnsubscribeSerializer,
    CommandName.PING: CommandSerializer,
    CommandName.PONG: CommandSerializer,
}
