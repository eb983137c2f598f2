"""Frames from a client, turned into commands."""

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from rest_framework.exceptions import ValidationError

from .exceptions import CommandError
from .serializers import COMMANDS, RefField

Ref = int | str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A validated command."""

    action: str
    #: What the client calls it; None if it gave it no name.
    ref: Ref
    #: What the action's serializer made of the rest.
    values: dict[str, Any]


def parse(text: str | None) -> Command:
    """
    Return the command in a text frame; None stands for a binary one.

    Raises CommandError: ``malformed`` if it is no JSON object, ``invalid`` if it is no valid command.
    """
    frame = _json_object(text)
    ref = _ref(frame.get("ref"))
    action = frame.get("action", "subscribe")
    if not isinstance(action, str) or action not in COMMANDS:
        raise _invalid(ref, {"action": [f"Expected one of {', '.join(COMMANDS)}."]})
    serializer = COMMANDS[action](data=frame)
    if not serializer.is_valid():
        raise _invalid(ref, serializer.errors)
    values = {key: serializer.validated_data[key] for key in serializer.validated_data}
    return Command(action=values.pop("action", action), ref=values.pop("ref", None), values=values)


def _json_object(text: str | None) -> dict[str, Any]:
    if text is None:
        raise CommandError("malformed", "Expected a text frame, got a binary one.")
    try:
        frame = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise CommandError("malformed", "Expected JSON.") from None
    if not isinstance(frame, dict):
        raise CommandError("malformed", "Expected a JSON object.")
    return frame


def _refuse_constant(name: str) -> NoReturn:
    # Python's parser takes NaN and Infinity; JSON has neither.
    raise ValueError(name)


def _ref(value: Any) -> Ref:
    """Return the command's ref, if it is one: also a refusal should name what it refuses."""
    try:
        return RefField(required=False).to_internal_value(value)
    except ValidationError:
        return None


def _invalid(ref: Ref, errors: Any) -> CommandError:
    return CommandError("invalid", "The command is not valid.", errors=errors, ref=ref)
