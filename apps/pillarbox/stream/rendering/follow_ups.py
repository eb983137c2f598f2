"""Follow-ups: the rows for other streams and other objects that a rendered row requires."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import models

from ...types.announcers import Announcer, event_of
from ...types.current_rows import all_objects
from ...types.live_models import showing_whole
from ...types.lookups import stream_prefix
from .results import FollowUp, Rendered, Unrendered


def follow_ups_in_collections(row: Unrendered, streams: Sequence[str]) -> Iterator[FollowUp]:
    """Yield the rows for the collections that a row's object is in (``streams``), and that it left."""
    origins: dict[str, str] = {}
    for stream in row.left_streams:
        origins.setdefault(stream.rpartition(":")[0], stream)
    for stream in streams:
        if stream != row.stream:
            has_entered = origins.get(stream.rpartition(":")[0], stream) != stream
            event = event_of("CREATE", row.object_type) if has_entered else row.event
            yield FollowUp(stream, event, row.object_type, row.object_id)
    yield from follow_ups_in_left_collections(row, streams)


def follow_ups_in_left_collections(row: Unrendered, streams: Sequence[str]) -> Iterator[FollowUp]:
    """Yield the rows for the collections that a row's object left, except those in ``streams``."""
    event = event_of("DELETE", row.object_type)
    for stream in row.left_streams:
        if not stream.endswith(":") and stream not in streams:
            yield FollowUp(stream, event, row.object_type, row.object_id)


def follow_ups_of_showing(announcer: Announcer, now: models.Model) -> Iterator[FollowUp]:
    """Yield the rows for the objects that show everything of the changed object."""
    for table in showing_whole(announcer):
        if (key := getattr(now, table.key.attname)) is not None:
            showing = table.announcer
            yield FollowUp(
                f"{stream_prefix(showing.stream_keys[0][0], table.lookup)}:{key}",
                showing.event("UPDATE"),
                showing.object_type,
                str(key),
                table.lookup,
                is_everywhere=True,
                is_repetition=True,
            )


def lookup_results(
    announcer: Announcer, rows: Sequence[Unrendered], using: str
) -> Iterator[Rendered]:
    """Yield the results of rows with a lookup: no payload, and a follow-up for each object that it finds."""
    for lookup in {row.lookup for row in rows}:
        alike = [row for row in rows if row.lookup == lookup]
        keys = _keys_by_value(announcer, lookup, {row.object_id for row in alike}, using)
        for row in alike:
            follow_ups = (_row_of_object(announcer, row, pk) for pk in keys[row.object_id])
            yield Rendered(row=row, follow_ups=tuple(follow_ups))


def _row_of_object(announcer: Announcer, row: Unrendered, pk: Any) -> FollowUp:
    """Return the row for an object that the lookup of ``row`` has found."""
    name, _ = announcer.stream_keys[0]
    says_move = row.is_move or bool(row.left_streams)
    return FollowUp(
        f"{name}:{pk}",
        row.event,
        row.object_type,
        str(pk),
        is_everywhere=row.is_everywhere,
        is_repetition=row.is_everywhere and not says_move,
    )


def _keys_by_value(
    announcer: Announcer, lookup: str, values: set[str], using: str
) -> Mapping[str, Sequence[Any]]:
    """Return the primary keys of the objects that a lookup finds, by value as text."""
    objects = all_objects(announcer, using)
    keys: dict[str, list[Any]] = defaultdict(list)
    for value, pk in objects.filter(**{f"{lookup}__in": values}).values_list(lookup, "pk"):
        keys[str(value)].append(pk)
    return keys
