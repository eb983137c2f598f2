"""Payloads as JSON that PostgreSQL can store, Redis can carry and JavaScript can read."""

import json
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from django.utils.module_loading import import_string

from ..conf import pillarbox_settings
from ..exceptions import PayloadError

SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1

#: JSON text that may hold a forbidden value: an escaped NUL or surrogate, a number of many digits.
_SUSPECT = re.compile(r"\\u(?:0000|d[89a-f])|\d{19}")


#: Separates JSON texts in one parameter of a statement. JSON text never contains this character.
SEPARATOR = "\x1e"


def joined(texts: Iterable[str | None]) -> str:
    """
    Return JSON texts as one parameter that SQL splits again: ``string_to_array(%s, E'\\x1e', '')``.

    Passing an array of many texts would take psycopg longer than the rest of the statement.
    """
    return SEPARATOR.join(text or "" for text in texts)


def encode(value: Any, field: str) -> str:
    """Return ``value`` as JSON text. Raises PayloadError as `plain` does; ``field`` is its path."""
    try:
        text = json.dumps(value, cls=_encoder(), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        text = None
    # The encoder in C handles nearly all payloads in one pass; only suspect ones are checked by value.
    if text is None or _SUSPECT.search(text):
        return json.dumps(plain(value, field), separators=(",", ":"))
    return text


def plain(value: Any, field: str) -> Any:  # noqa: PLR0911  # a table of types
    """
    Return ``value`` as plain JSON: None, bool, int, float, str, list and dict.

    Dates, decimals, UUIDs and other values are converted by ``PILLARBOX["JSON_ENCODER"]``. ``field`` is
    the path of the value, for the error message. Raises PayloadError for a NUL, a lone surrogate,
    NaN, an infinity, an integer beyond 64 bits, and a value without a JSON form.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _text(value, field)
    if isinstance(value, int):
        return _integer(value, field)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PayloadError(field, f"expected a finite number, got float {value}.")
        return float(value)
    if isinstance(value, dict):
        return {_key(key, field): plain(item, f"{field}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{field}[{index}]") for index, item in enumerate(value)]
    return plain(_encoded(value, field), field)


def _text(value: str, field: str) -> str:
    if "\x00" in value:
        raise PayloadError(field, "expected text without NUL characters, got a str with one.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PayloadError(
                field, "expected valid Unicode, got a str with a lone surrogate."
            ) from None
    return str(value)


def _integer(value: int, field: str) -> int:
    if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
        raise PayloadError(field, "expected an integer of at most 64 bits, got a longer int.")
    return int(value)


def _key(key: Any, field: str) -> str:
    """Return a key as JSON writes it: numbers, truth values and None become text."""
    if isinstance(key, str):
        return _text(key, field)
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(key)
    raise PayloadError(field, f"expected text as key, got {type(key).__name__} {key!r}.")


def _encoded(value: Any, field: str) -> Any:
    try:
        return _encoder()().default(value)
    except TypeError:
        raise PayloadError(
            field, f"expected a value with a JSON form, got {type(value).__name__}."
        ) from None


def _encoder() -> Any:
    return _import(pillarbox_settings().JSON_ENCODER)


_import = lru_cache(import_string)
