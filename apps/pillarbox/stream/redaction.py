"""Redaction: removes secrets from payloads and errors before operators see them."""

import json
import re
import traceback
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from django.db import IntegrityError
from django.db.backends.postgresql.psycopg_any import errors
from django.utils.module_loading import import_string

from ..conf import pillarbox_settings
from ..database import CONNECTION_ERRORS
from ..exceptions import CriteriaError

REDACTED, UNREDACTABLE = "[redacted]", "[could not be redacted]"

#: Secrets of this length are also replaced inside words; shorter ones would match everywhere.
LONG = 6

#: Keys whose values are secret: ``api_key``, ``userPassword``, ``pin``, but not ``pinned``.
SECRET = re.compile(
    r"pass(?:word|wd|phrase|code)|secret|token|authori[sz]ation|credential|cookie|signature"
    r"|api[-_]?key|private[-_]?key|access[-_]?key|session[-_]?(?:id|key)"
    r"|card[-_]?number|(?:^|[-_])(?:pin|cvc|cvv|iban|ssn|otp)(?:$|[-_])",
    re.IGNORECASE,
)

#: Errors about locks, servers and names. Their first line quotes no value.
HARMLESS = (*CONNECTION_ERRORS, CriteriaError, IntegrityError)
#: PostgreSQL's errors of which the same is true. Django's error has them as its cause.
ABOUT_NAMES = (errors.UndefinedColumn, errors.UndefinedTable, errors.InsufficientPrivilege)

# Messages in which PostgreSQL quotes the refused row, line, text or parameter, which may hold a payload.
_QUOTED = re.compile(
    r"(Failing row contains|COPY \w+, line \d+(?:, column \w+)?:|JSON data, line \d+:|Token(?=.*is invalid)"
    r"|unnamed portal (?:with parameters:|parameter)).*"
)
# Password hashes as Django writes them; an error while loading a user may quote one.
_PASSWORD = re.compile(r"\b\w*(?:pbkdf2|argon2|bcrypt|scrypt|md5|sha1)\w*\$[\w$./+=,-]+")


def mask(object_type: str, payload: Any) -> Any:
    """Return a payload whose secret values are masked, judged by their keys. The default hook."""
    if isinstance(payload, dict):
        return {
            key: REDACTED if SECRET.search(str(key)) and value else mask(object_type, value)
            for key, value in payload.items()
        }
    if isinstance(payload, list | tuple):
        return [mask(object_type, value) for value in payload]
    return payload


def readable(object_type: str, payload: Any) -> str:
    """Return a payload as indented JSON text for operators, redacted by ``PILLARBOX["REDACT"]``."""
    try:
        return json.dumps(_redacted(object_type, payload), indent=2, ensure_ascii=False)
    except Exception:  # noqa: BLE001  # the project's hook; its error may quote a secret
        return UNREDACTABLE


def without_secrets(
    text: str, object_type: str, payload: str | None, omitted: Sequence[str] = ()
) -> str:
    """
    Return a text about a row, such as an error message, without the secrets of the row's payload.

    ``payload`` is JSON text, or None if it wasn't loaded. Values under the ``omitted`` keys go, too.
    """
    text = without_quoted_rows(text)
    if payload is None:
        return text
    try:
        known = json.loads(payload)
        shown = _redacted(object_type, known)
        hidden = [
            *_hidden(known, shown),
            *(one for key in omitted for one in _leaves(known.get(key))),
        ]
        secret = {spelling for leaf in hidden for spelling in _spelt(leaf)}
    except Exception:  # noqa: BLE001  # the hook's error may quote a secret
        return UNREDACTABLE
    # The longest first: one may be part of another.
    for words in sorted(secret, key=len, reverse=True):
        escaped = re.escape(words)
        text = re.sub(escaped if len(words) >= LONG else rf"(?<!\w){escaped}(?!\w)", REDACTED, text)
    return text


def without_quoted_rows(text: str) -> str:
    """Return text without values that PostgreSQL quotes from rows, and without Django's password hashes."""
    return _PASSWORD.sub(REDACTED, _QUOTED.sub(rf"\1 {REDACTED}", text))


def without_values(error: Exception) -> str:
    """Describe an error in one line: by its message if that quotes no value, else by where it was raised."""
    if isinstance(error, HARMLESS) or isinstance(error.__cause__, ABOUT_NAMES):
        words = without_quoted_rows(str(error)).partition("\n")[0]
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        words = f"raised in {frame.name}, line {frame.lineno} of {Path(frame.filename).name}."
    return f"{type(error).__name__}: {words}"


def _redacted(object_type: str, payload: Any) -> Any:
    # A copy, because a hook may change its argument.
    return import_string(pillarbox_settings().REDACT)(object_type, deepcopy(payload))


def _hidden(known: Any, shown: Any) -> Iterator[str]:
    """Yield the texts and numbers of ``known`` that ``shown`` doesn't have at the same place."""
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
    """Return the spellings of a text in messages: plain, and as Python and JSON quote it."""
    return {
        leaf,
        repr(leaf)[1:-1],
        json.dumps(leaf)[1:-1],
        json.dumps(leaf, ensure_ascii=False)[1:-1],
    }
