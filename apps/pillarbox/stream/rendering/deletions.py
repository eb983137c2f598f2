"""Deletions: rows whose payload is made from the key of a deleted object."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...types.announcers import Announcer
from ...types.current_rows import all_rows
from ...types.lookups import lookup_of
from ...types.payload import encode
from .follow_ups import follow_ups_in_left_collections
from .results import Rendered, Unrendered
from .session import raise_if_away


def deletion_results(
    announcer: Announcer, rows: Sequence[Unrendered], using: str
) -> Iterator[Rendered]:
    """Yield the results of deletions."""
    name, _ = announcer.stream_keys[0]
    own = {row for row in rows if row.stream == f"{name}:{row.object_id}"}
    left = _left_by_key(announcer, {row.object_id for row in own}, using)
    for row in rows:
        yield _result(announcer, row, left[row.object_id] if row in own else (), using)


def _left_by_key(announcer: Announcer, keys: set[str], using: str) -> Mapping[str, Sequence[str]]:
    """Return the collections of deleted objects, by key, for those whose ancestor's row still exists."""
    left: dict[str, list[str]] = defaultdict(list)
    for name, attribute in announcer.stream_keys[1:] if keys else ():
        field: Any = next(f for f in announcer.model._meta.fields if f.attname == attribute)
        if field.model is not announcer.model and not lookup_of(
            announcer.model, field.model._meta.pk
        ):
            rows = all_rows(field.model, using).filter(pk__in=keys)
            for pk, owner in rows.exclude(**{attribute: None}).values_list("pk", attribute):
                left[str(pk)].append(f"{name}:{owner}")
    return left


def _result(announcer: Announcer, row: Unrendered, left: Sequence[str], using: str) -> Rendered:
    """Return the result of a deletion whose object left these collections."""
    try:
        payload = announcer.tombstone(announcer.model._meta.pk.to_python(row.object_id))
        text = encode(payload, announcer.object_type)
    except Exception as error:  # noqa: BLE001  # raised by the project's code
        raise_if_away(error, using)
        return Rendered(row=row, error=error)
    follow_ups = follow_ups_in_left_collections(
        row._replace(left_streams=(*row.left_streams, *left)), ()
    )
    return Rendered(row=row, payload=text, follow_ups=tuple(follow_ups))
