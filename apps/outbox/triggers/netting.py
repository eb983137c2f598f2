"""Netting: of the rows by which one transaction announces one object, those that say nothing new."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple


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


def redundant(rows: Iterable[Written]) -> set[int]:
    """
    Return the primary keys of the rows that are not numbered.

    Rows without image are rendered as their object is when it is rendered, so that one of a transaction says
    all: a CREATE or a DELETE rather than an UPDATE. Of an object that was created and deleted no row stays.
    ``rows`` are in the order of their primary keys.
    """
    alike: dict[tuple[int, str, str, str], list[Written]] = defaultdict(list)
    for row in rows:
        if not row.has_image:
            alike[row.transaction, row.stream, row.object_type, row.object_id].append(row)
    return {row.pk for group in alike.values() for row in group if row is not _last_word(group)}


def _last_word(group: Sequence[Written]) -> Written | None:
    """Return the row that says all that the group does; None if nothing came of it."""
    turns = [row for row in group if row.verb != "UPDATE"]
    if turns and (turns[0].verb, turns[-1].verb) == ("CREATE", "DELETE"):
        return None
    return turns[-1] if turns else group[-1]
