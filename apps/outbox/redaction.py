"""Redaction: operators see what happened, not the secrets that it happened to."""

import json
import re
import traceback
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils.module_loading import import_string

from .conf import outbox_settings
from .exceptions import CriteriaError

REDACTED, UNREDACTABLE = "[redacted]", "[could not be redacted]"

#: Secrets as long as this are looked for inside words, too; shorter ones would be found everywhere.
LONG = 6

#: Keys whose values are nobody's business: ``api_key``, ``userPassword``, ``pin``, but not ``pinned``.
SECRET = re.compile(
    r"pass(?:word|wd|phrase|code)|secret|token|authori[sz]ation|credential|cookie|signature"
    r"|api[-_]?key|private[-_]?key|access[-_]?key|session[-_]?(?:id|key)"
    r"|card[-_]?number|(?:^|[-_])(?:pin|cvc|cvv|iban|ssn|otp)(?:$|[-_])",
    re.IGNORECASE,
)

#: Errors that are about locks, servers and names, and quote no value in their first line.
HARMLESS = (CriteriaError, IntegrityError, InterfaceError, OperationalError)

# Where PostgreSQL quotes what it refused: in a row, a line, a text, or among parameters, payloads are.
_QUOTED = re.compile(
    r"(Failing row contains|COPY \w+, line \d+(?:, column \w+)?:|JSON data, line \d+:|Token(?=.*is invalid)"
    r"|unnamed portal (?:with parameters:|parameter)).*"
)


def mask(object_type: str, payload: Any) -> Any:
    """Return a payload with values masked by their keys: passwords, tokens and the like. The default hook."""
    if isinstance(payload, dict):
        return {
            key: REDACTED if SECRET.search(str(key)) and value else mask(object_type, value)
            for key, value in payload.items()
        }
    if isinstance(payload, list | tuple):
        return [mask(object_type, value) for value in payload]
    return payload


def readable(object_type: str, payload: Any) -> str:
    """Return a payload as people may read it, as JSON text, redacted by ``OUTBOX["REDACT"]``."""
    try:
        return json.dumps(_redacted(object_type, payload), indent=2, ensure_ascii=False)
    except Exception:  # noqa: BLE001  # somebody else's code, and what it failed at may be secret
        return UNREDACTABLE


def without_secrets(text: str, object_type: str, payload: str | None) -> str:
    """
    Return text about a row, an error's words say, without what redaction takes from the row's payload.

    ``payload`` is JSON text; None for a row whose payload nobody has loaded.
    """
    text = without_quoted_rows(text)
    if payload is None:
        return text
    try:
        known = json.loads(payload)
        hidden = _hidden(known, _redacted(object_type, known))
        secret = {spelling for leaf in hidden for spelling in _spelt(leaf)}
    except Exception:  # noqa: BLE001  # as above
        return UNREDACTABLE
    # The longest first: one may be part of another.
    for words in sorted(secret, key=len, reverse=True):
        escaped = re.escape(words)
        text = re.sub(escaped if len(words) >= LONG else rf"(?<!\w){escaped}(?!\w)", REDACTED, text)
    return text


def without_quoted_rows(text: str) -> str:
    """Return text without what PostgreSQL quotes of rows."""
    return _QUOTED.sub(rf"\1 {REDACTED}", text)


def without_values(error: Exception) -> str:
    """Return what an error is, in a line: its words if they quote no value, else where it was raised."""
    if isinstance(error, HARMLESS):
        words = without_quoted_rows(str(error)).partition("\n")[0]
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        words = f"raised in {frame.name}, line {frame.lineno} of {Path(frame.filename).name}."
    return f"{type(error).__name__}: {words}"


def _redacted(object_type: str, payload: Any) -> Any:
    # A copy: a hook may take things out of what it is given.
    return import_string(outbox_settings().REDACT)(object_type, deepcopy(payload))


def _hidden(known: Any, shown: Any) -> Iterator[str]:
    """Yield the texts and numbers of a JSON value that are not in the same place of another."""
    if isinstance(known, dict) and isinstance(shown, dict):
        for key, value in known.items():
            yield from _hidden(value, shown.get(key))
    elif isinstance(known, list) and isinstance(shown, list) and len(known) == len(shown):
        for value, other in zip(known, shown, strict=True):
            yield from _hidden(value, other)
    elif known != shown:
        yield from _leaves(known)


def _leaves(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a JSON value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif not isinstance(value, bool) and value not in (None, ""):
        yield str(value)


def _spelt(leaf: str) -> set[str]:
    """Return how a text stands in messages: as it is, and as Python and JSON quote it."""
    return {
        leaf,
        repr(leaf)[1:-1],
        json.dumps(leaf)[1:-1],
        json.dumps(leaf, ensure_ascii=False)[1:-1],
    }
