"""Parsing of client frames into validated commands."""

import asyncio
import json
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from rest_framework.exceptions import ValidationError
from rest_framework.serializers import Serializer

from ...exceptions import ClientCommandError
from .serializers import COMMANDS, CommandName, EntrySerializer, RefField, SeveralSerializer

Ref = int | str | None
#: Validated values.
Entry = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A validated command."""

    action: CommandName
    #: The client's reference for its answer; None if it sent none.
    ref: Ref
    #: The validated fields; in a list of subscriptions, the fields or the error of each entry.
    entries: list[Entry | ClientCommandError]
    #: True if the client sent a list of subscriptions, whose answers have an ``index``.
    is_several: bool = False

    @property
    def values(self) -> Entry:
        """Return the validated fields of a command with one entry."""
        (entry,) = self.entries
        assert not isinstance(entry, ClientCommandError)
        return entry


@dataclass(frozen=True, kw_only=True, slots=True)
class RawCommand:
    """A client's JSON object that is not validated yet."""

    frame: dict[str, Any]
    ref: Ref
    #: The number of commands that the rate limit counts it as.
    cost: int


def read(text: str | None) -> RawCommand:
    """
    Parse the text of a frame, which is None for a binary frame.

    Raises ClientCommandError, ``malformed``, if it isn't a JSON object.
    """
    frame = _json_object(text)
    entries = frame.get("subscriptions")
    cost = len(entries) if isinstance(entries, list) else 1
    return RawCommand(frame=frame, ref=_ref(frame.get("ref")), cost=max(cost, 1))


async def parse(raw: RawCommand) -> Command:
    """
    Validate a command. Raises ClientCommandError, ``invalid``.

    Lets other sockets run between the entries of a command.
    """
    frame, ref = raw.frame, raw.ref
    action = _name(frame.get("action", CommandName.SUBSCRIBE))
    if action is None:
        raise _invalid(ref, {"action": [f"Expected one of {', '.join(CommandName)}."]})
    is_several = action is CommandName.SUBSCRIBE and "subscriptions" in frame
    values = _validated(SeveralSerializer if is_several else COMMANDS[action], frame, ref)
    values.pop("action", None)
    ref = values.pop("ref", None)
    if not is_several:
        return Command(action=action, ref=ref, entries=[values])
    entries = []
    for entry in values["subscriptions"]:
        entries.append(_entry(entry, ref))
        await asyncio.sleep(0)
    return Command(action=action, ref=ref, entries=entries, is_several=True)


def _name(action: Any) -> CommandName | None:
    try:
        return CommandName(action)
    except ValueError:
        return None


def _entry(frame: Any, ref: Ref) -> Entry | ClientCommandError:
    try:
        return _validated(EntrySerializer, frame, ref)
    except ClientCommandError as refusal:
        return refusal


def _validated(serializer_class: type[Serializer[Any]], frame: Any, ref: Ref) -> Entry:
    try:
        return dict(_instance(serializer_class).run_validation(frame))
    except ValidationError as refusal:
        raise _invalid(ref, refusal.detail) from None


@cache  # making one costs more than validating an entry, and a command may have many entries
def _instance(serializer_class: type[Serializer[Any]]) -> Serializer[Any]:
    return serializer_class()


def _json_object(text: str | None) -> dict[str, Any]:
    if text is None:
        raise ClientCommandError("malformed", "Expected a text frame, got a binary one.")
    try:
        frame = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ClientCommandError("malformed", "Expected JSON.") from None
    if not isinstance(frame, dict):
        raise ClientCommandError("malformed", "Expected a JSON object.")
    return frame


def _refuse_constant(name: str) -> NoReturn:
    # Python's parser accepts NaN and Infinity, which are not JSON.
    raise ValueError(name)


def _ref(value: Any) -> Ref:
    """Return a command's ref if it is valid, because the answer to an invalid command has it, too."""
    try:
        return RefField(required=False).to_internal_value(value)
    except ValidationError:
        return None


def _invalid(ref: Ref, errors: Any) -> ClientCommandError:
    return ClientCommandError("invalid", "The command is not valid.", errors=errors, ref=ref)
