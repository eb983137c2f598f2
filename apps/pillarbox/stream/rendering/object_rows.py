"""Rendering of creations and updates: each row gets its object's payload, or an error, or is obsolete."""

from collections.abc import Iterator, Sequence

from django.db import models

from ...types.announcers import Announcer
from .follow_ups import (
    follow_ups_in_collections,
    follow_ups_in_left_collections,
    follow_ups_of_showing,
)
from .objects import current_objects, objects_of, payloads_of
from .obsolete import deleted_streams, has_moved, overtaken
from .quotable import whole_objects, with_quotable
from .results import FollowUp, Rendered, Unrendered


def object_results(
    announcer: Announcer,
    rows: Sequence[Unrendered],
    ancestors_deletions: Sequence[Unrendered],
    using: str,
) -> Iterator[Rendered]:
    """Yield the results of creations and updates, and of deletions that ancestors' tables wrote."""
    objects = objects_of(announcer, rows, using)
    payloads = payloads_of(announcer, objects, using)
    failed = {row.object_id for row, made in payloads.items() if isinstance(made, Exception)}
    whole = whole_objects(announcer, failed, using)
    # Read after the last payload was made, because the current object decides whether a row may be shown.
    keys = {row.object_id for row in (*objects, *ancestors_deletions)}
    current = current_objects(announcer, keys, using)
    too_early = overtaken(announcer, [row for row in objects if row.image is None], using)
    streams = {pk: announcer.streams(now) for pk, now in current.items()}
    leaving = [row for row in (*rows, *ancestors_deletions) if row.left_streams]
    deleted = deleted_streams(announcer, leaving, using)
    for row in (*rows, *ancestors_deletions):
        now = current.get(row.object_id)
        is_shown = row in objects and row not in too_early
        if now is not None and is_shown and not has_moved(announcer, objects[row], now):
            result = _result(announcer, row, payloads[row], now, streams[row.object_id])
            yield (
                result
                if result.error is None
                else with_quotable(result, announcer, objects[row], whole.get(row.object_id))
            )
        else:
            was_there = now is not None or row.stream in deleted
            yield _obsolete(row, streams.get(row.object_id, ()), was_there=was_there)


def _obsolete(row: Unrendered, streams: Sequence[str], *, was_there: bool) -> Rendered:
    """Return the result of an obsolete row, whose object is in these streams, if it still exists."""
    follow_ups = follow_ups_in_left_collections(row, streams) if was_there else ()
    return Rendered(row=row, follow_ups=tuple(follow_ups))


def _result(
    announcer: Announcer,
    row: Unrendered,
    made: str | Exception,
    now: models.Model,
    streams: Sequence[str],
) -> Rendered:
    """Return the result of a row whose object exists, and is in these streams."""
    if row.stream not in streams:
        return Rendered(row=row)
    follow_ups: tuple[FollowUp, ...] = ()
    if row.is_everywhere:
        follow_ups = (
            *follow_ups_in_collections(row, streams),
            *follow_ups_of_showing(announcer, now),
        )
    if isinstance(made, Exception):
        return Rendered(row=row, error=made, follow_ups=follow_ups)
    return Rendered(row=row, payload=made, follow_ups=follow_ups)
