"""Filters by which operators select rows, the same in the changelist, the confirmation and the command."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.text import smart_split, unescape_string_literal

from ..exceptions import CriteriaError
from ..models import STATES, NotificationOutbox, OutboxQuerySet

LARGEST_PK = 2**63 - 1
MOST_PKS = 1000
_BEGINNING = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F-]*)?")
_AGO = re.compile(r"(\d{1,6})\s*([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """A set of filters. A row must match all that aren't empty."""

    #: Primary keys of the rows.
    pks: tuple[int, ...] = ()
    #: One of STATES.
    state: str = ""
    #: The fingerprint of the error.
    cause: str = ""
    event: str = ""
    object_type: str = ""
    stream: str = ""
    #: Captured at ``since`` or later, and before ``until``.
    since: datetime | None = None
    until: datetime | None = None
    #: Search words, as in the changelist.
    q: str = ""
    #: Only rows with higher primary keys; continues a cancelled replay.
    after: int = 0

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "Criteria":
        """Return criteria from names and values, mostly text. Raises CriteriaError, naming the filter."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(given.keys() - known):
            raise CriteriaError(unknown[0], f"no such filter. Expected some of {_listed(known)}.")
        given = {name: value for name, value in given.items() if value not in ("", None)}
        return cls(**{name: _PARSERS[name](name, value) for name, value in given.items()})

    def as_json(self) -> dict[str, Any]:
        """Return the filters that aren't empty as JSON. `parse` takes it, and so does a URL's query."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in found.items() if value}

    def rows(self, *, using: str) -> OutboxQuerySet:
        """Return the matching rows, unordered."""
        rows = NotificationOutbox.objects.using(using)
        if self.state:
            rows = getattr(rows, self.state)()
        if self.pks:
            rows = rows.filter(pk__in=self.pks)
        if self.q:
            rows = search(rows, self.q)
        columns = {
            "error_fingerprint": self.cause,
            "event": self.event,
            "object_type": self.object_type,
            "stream": self.stream,
            "created_at__gte": self.since,
            "created_at__lt": self.until,
            "pk__gt": self.after,
        }
        return rows.filter(**{name: value for name, value in columns.items() if value})

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.as_json().items()) or "all rows"


def search(rows: OutboxQuerySet, words: str) -> OutboxQuerySet:
    """Return the rows that have each word in their stream, event, event id, or error."""
    for word in smart_split(words):
        if word.startswith(('"', "'")) and word[0] == word[-1]:
            word = unescape_string_literal(word)  # noqa: PLW2901  # as Django's own search does
        found = Q()
        for name in ("stream", "event", "error_type", "error_message"):
            found |= Q((f"{name}__icontains", word))
        if _BEGINNING.fullmatch(word):  # event ids of one request have a common prefix
            found |= Q(event_id__istartswith=word)
        rows = rows.filter(found)
    return rows


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value or len(value) > 1000:  # noqa: PLR2004  # of sense
        raise CriteriaError(name, "expected text of at most 1000 characters, without NUL.")
    return value


def _state(name: str, value: Any) -> str:
    if value not in STATES:
        raise CriteriaError(name, f"expected one of {_listed(STATES)}, got {value!r}.")
    return str(value)


def _pk(name: str, value: Any) -> int:
    try:
        pk = int(value)
    except (TypeError, ValueError):
        pk = 0
    if not 1 <= pk <= LARGEST_PK:
        raise CriteriaError(name, f"expected the primary key of a row, got {value!r}.")
    return pk


def _pks(name: str, value: Any) -> tuple[int, ...]:
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or len(texts) > MOST_PKS:
        raise CriteriaError(name, f"expected primary keys of rows, at most {MOST_PKS} of them.")
    return tuple(sorted({_pk(name, text) for text in texts}))


def _time(name: str, value: Any) -> datetime:
    text = str(value).strip()
    try:
        if found := _AGO.fullmatch(text):
            return timezone.now() - timedelta(**{_UNITS[found[2]]: int(found[1])})
        moment = parse_datetime(text)
    except (OverflowError, ValueError):
        moment = None
    if moment is None:
        example = "2026-11-22T10:00, or 90m, 2h, 3d ago"
        raise CriteriaError(name, f"expected a time such as {example}; got {text!r}.")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("cause", "event", "object_type", "stream", "q"), _text),
    **dict.fromkeys(("since", "until"), _time),
    "state": _state,
    "pks": _pks,
    "after": _pk,
}
