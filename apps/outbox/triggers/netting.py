"""Netting: of the rows by which one transaction announces one object, those that say nothing new."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Written(NamedTuple):
    """A row as a trigger wrote it, without its content."""

    pk: int
    transaction: int
    stream: str
    object_type: str
    object_id: str
    #: CREATE, UPDATE or DELETE.
    verb: str
    has_image: bool
    #: Whether the row is about the object in all its streams.
    is_everywhere: bool


def written(row: Any) -> Written:
    """Return what netting needs to know of a row of the outbox, however it was read."""
    return Written(
        pk=row.pk,
        transaction=row.transaction or 0,
        stream=row.stream,
        object_type=row.object_type,
        object_id=row.object_id,
        verb=row.event.partition("_")[0],
        has_image=row.image is not None,
        is_everywhere=row.is_everywhere,
    )


def redundant(rows: Iterable[Written]) -> set[int]:
    """
    Return the primary keys of the rows that are not numbered.

    Rows without image are rendered as their object is when it is rendered, so that one of a transaction says
    all: a CREATE or a DELETE rather than an UPDATE. Of an object that was created and deleted no row stays.
    ``rows`` are in the order of their primary keys.
    """
    alike: dict[tuple[int, str, str], list[Written]] = defaultdict(list)
    for row in rows:
        if not row.has_image:
            alike[row.transaction, row.object_type, row.object_id].append(row)
    return {row.pk for group in alike.values() for row in group if row not in _last_words(group)}


def _last_words(group: Sequence[Written]) -> list[Written]:
    """Return the rows, of one object, that say all that the group does; at most one for each stream."""
    by_stream: dict[str, list[Written]] = defaultdict(list)
    for row in group:
        by_stream["" if row.is_everywhere else row.stream].append(row)
    updates = by_stream.pop("", [])
    last = [row for rows in by_stream.values() for row in _last_word(rows)]
    is_new_or_gone = any(row.verb != "UPDATE" for row in group)
    return last if is_new_or_gone else [*last, *updates[-1:]]


def _last_word(rows: Sequence[Written]) -> Sequence[Written]:
    """Return the row that says what became of an object in a stream; none if it came and went."""
    turns = [row for row in rows if row.verb != "UPDATE"]
    if turns and (turns[0].verb, turns[-1].verb) == ("CREATE", "DELETE"):
        return []
    return turns[-1:] or rows[-1:]
