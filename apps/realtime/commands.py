"""Frames from a client, turned into commands."""

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from rest_framework.exceptions import ValidationError
from rest_framework.serializers import Serializer

from .exceptions import CommandError
from .serializers import COMMANDS, EntrySerializer, RefField, SeveralSerializer

Ref = int | str | None
#: Validated values.
Entry = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A validated command."""

    action: str
    #: What the client calls it; None if it gave it no name.
    ref: Ref
    #: What the action's serializer made of the rest; of several subscriptions, of each, or why it didn't.
    entries: list[Entry | CommandError]
    #: Whether the client asked for several, and gets answers with an ``index``.
    is_several: bool = False

    @property
    def values(self) -> Entry:
        """The values of a command that has only one entry."""
        (entry,) = self.entries
        assert not isinstance(entry, CommandError)
        return entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a client sent, before it is known to be a command."""

    frame: dict[str, Any]
    ref: Ref
    #: How many commands it counts as.
    cost: int


def read(text: str | None) -> Request:
    """
    Return what is in a text frame; None stands for a binary one.

    Raises CommandError, ``malformed``, if it is no JSON object.
    """
    frame = _json_object(text)
    entries = frame.get("subscriptions")
    cost = len(entries) if isinstance(entries, list) else 1
    return Request(frame=frame, ref=_ref(frame.get("ref")), cost=max(cost, 1))


def parse(request: Request) -> Command:
    """Return the command that a client sent. Raises CommandError, ``invalid``, if it is none."""
    frame, ref = request.frame, request.ref
    action = frame.get("action", "subscribe")
    if not isinstance(action, str) or action not in COMMANDS:
        raise _invalid(ref, {"action": [f"Expected one of {', '.join(COMMANDS)}."]})
    is_several = action == "subscribe" and "subscriptions" in frame
    values = _validated(SeveralSerializer if is_several else COMMANDS[action], frame, ref)
    values.pop("action", None)
    ref = values.pop("ref", None)
    if not is_several:
        return Command(action=action, ref=ref, entries=[values])
    entries = [_entry(entry, ref) for entry in values["subscriptions"]]
    return Command(action=action, ref=ref, entries=entries, is_several=True)


def _entry(frame: Any, ref: Ref) -> Entry | CommandError:
    try:
        return _validated(EntrySerializer, frame, ref)
    except CommandError as refusal:
        return refusal


def _validated(serializer_class: type[Serializer[Any]], frame: Any, ref: Ref) -> Entry:
    serializer = serializer_class(data=frame)
    if not serializer.is_valid():
        raise _invalid(ref, serializer.errors)
    return {key: serializer.validated_data[key] for key in serializer.validated_data}


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
