"""Rendering: what subscribers see of captured rows. No transaction is open, and no lock held."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connections, models
from django.utils import timezone, translation

from .announcers import Announcer, announcer_of, event_of
from .images import instances_of
from .payload import encode
from .stored import rows as all_rows


class Unrendered(NamedTuple):
    """A captured row that has no payload yet."""

    pk: int
    transaction: int | None
    stream: str
    event: str
    event_id: str
    object_type: str
    object_id: str
    #: JSON text: the object's columns as the change left them; None to show it as it is now.
    image: str | None
    attempts: int
    #: Whether the row is about the object in all its streams, of which ``stream`` is its own.
    is_everywhere: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """What came of rendering a row: a payload, or an error, or neither if the row is obsolete."""

    row: Unrendered
    #: JSON text.
    payload: str | None = None
    error: Exception | None = None
    #: Further streams of the object, if the row is about the object in all of them.
    further: tuple[str, ...] = ()


def render(rows: Sequence[Unrendered], *, using: str) -> list[Rendered]:
    """
    Render rows, in the project's language and time zone; return one result for each row.

    An exception of the project's code is the error of its row. Raises UnknownTypeError for a row of a type
    that is not registered here, and what the database raises if it is away.
    """
    by_type: dict[str, list[Unrendered]] = defaultdict(list)
    for row in rows:
        by_type[row.object_type].append(row)
    with translation.override(settings.LANGUAGE_CODE), timezone.override(None):
        return [
            rendered
            for object_type, group in by_type.items()
            for rendered in _render(announcer_of(object_type), group, using)
        ]


def _render(announcer: Announcer, rows: Sequence[Unrendered], using: str) -> Iterator[Rendered]:
    """Yield the results of rows of one type."""
    gone = event_of("DELETE", announcer.object_type)
    shown = [row for row in rows if row.event != gone and announcer.shows_object]
    yield from (_without_object(announcer, row) for row in rows if row not in set(shown))
    objects = _objects(announcer, shown, using)
    payloads = _payloads(announcer, objects, using)
    # Read after the last payload was made: what the object is by now decides whether a row may be shown.
    present = _present(announcer.model, {row.object_id for row in objects}, using)
    for row in shown:
        now = present.get(row.object_id)
        if row not in objects or now is None or _has_moved(announcer, objects[row], now):
            yield Rendered(row=row)
        else:
            yield _result(row, payloads[row], tuple(announcer.streams(now)))


def _without_object(announcer: Announcer, row: Unrendered) -> Rendered:
    """Return the result of a row that shows at most the key of its object."""
    payload: Mapping[str, Any] = {}
    if announcer.shows_object:
        payload = announcer.tombstone(announcer.model._meta.pk.to_python(row.object_id))
    return Rendered(row=row, payload=encode(payload, announcer.object_type))


def _result(row: Unrendered, made: "str | Exception", streams: tuple[str, ...]) -> Rendered:
    """Return the result of a row whose object is in these streams."""
    if row.stream not in streams:
        return Rendered(row=row)
    further = tuple(one for one in streams if one != row.stream) if row.is_everywhere else ()
    if isinstance(made, Exception):
        return Rendered(row=row, error=made, further=further)
    return Rendered(row=row, payload=made, further=further)


def _objects(announcer: Announcer, rows: Sequence[Unrendered], using: str) -> dict[Unrendered, Any]:
    """Return the object that each row shows: of its image, else as it is now. Rows without are left out."""
    with_image = [row for row in rows if row.image is not None]
    objects = dict(instances_of(announcer.model, with_image, using))
    plain = [row for row in rows if row not in objects]
    present = _present(announcer.model, {row.object_id for row in plain}, using)
    objects |= {row: present[row.object_id] for row in plain if row.object_id in present}
    if announcer.prefetch:
        unique = list({id(one): one for one in objects.values()}.values())
        models.prefetch_related_objects(unique, *announcer.prefetch)
    return objects


def _payloads(
    announcer: Announcer, objects: dict[Unrendered, Any], using: str
) -> "dict[Unrendered, str | Exception]":
    """Return for each row its payload, or the error of making it. Rows of one change share one payload."""
    made: dict[tuple[str, str, str | None], str | Exception] = {}
    payloads = {}
    for row, instance in objects.items():
        change = (row.event_id, row.object_id, row.image)
        if change not in made:
            made[change] = _payload(announcer, instance, using)
        payloads[row] = made[change]
    return payloads


def _payload(announcer: Announcer, instance: models.Model, using: str) -> "str | Exception":
    try:
        return encode(announcer.payload(instance), announcer.object_type)
    except Exception as error:
        connection = connections[using]
        if connection.connection is not None and not connection.is_usable():
            raise  # the database is away: the row is not to blame
        return error


def _has_moved(announcer: Announcer, shown: models.Model, now: models.Model) -> bool:
    """Whether what decides who may see an object has changed since the state that is shown."""
    fields: Iterable[Any] = map(announcer.model._meta.get_field, announcer.deciding)
    was = vars(shown)
    return any(f.attname in was and was[f.attname] != vars(now)[f.attname] for f in fields)


def _present(model: type[models.Model], keys: Iterable[str], using: str) -> dict[str, Any]:
    """Return objects as they are now, whatever the model's managers leave out, by key as text."""
    found = all_rows(model, using).filter(pk__in=list(keys)) if keys else ()
    return {str(instance.pk): instance for instance in found}
