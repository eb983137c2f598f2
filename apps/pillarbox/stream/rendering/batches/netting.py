"""Netting: finds redundant rows among those that one transaction wrote about one object."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Written(NamedTuple):
    """The facts of a captured row that netting needs."""

    pk: int
    #: None for a replay, which no trigger wrote.
    transaction: int | None
    stream: str
    object_type: str
    object_id: str
    lookup: str
    #: CREATE, UPDATE or DELETE.
    verb: str
    has_image: bool
    #: True if the row announces a change in all streams of the object.
    is_everywhere: bool
    is_move: bool
    #: The collections that the object left.
    left_streams: tuple[str, ...]


class Net(NamedTuple):
    """The result of netting rows."""

    #: Primary keys of the redundant rows.
    redundant: set[int]
    #: Rows to be kept that take over the facts about moves from redundant rows.
    merged: list[Written]


def written(row: Any) -> Written:
    """Return the facts that netting needs from a row of the outbox, of any class."""
    return Written(
        pk=row.pk,
        transaction=row.transaction,
        stream=row.stream,
        object_type=row.object_type,
        object_id=row.object_id,
        lookup=row.lookup,
        verb=row.event.partition("_")[0],
        has_image=row.image is not None,
        is_everywhere=row.is_everywhere,
        is_move=row.is_move,
        left_streams=tuple(row.left_streams or ()),
    )


def net(rows: Iterable[Written]) -> Net:
    """
    Return the keys of redundant rows, and kept rows that take over facts about moves from them.

    Rows without image are rendered from the current object, so one row for each transaction suffices. A
    CREATE or a DELETE is kept rather than an UPDATE, and both if the object was deleted and created again. If
    it was created and then deleted, no row is kept. Rows with an image are kept, and they part the rows
    before them from those after them. Replays are kept. ``rows`` are in the order of their primary keys.
    """
    alike: dict[tuple[int, str, str, str], list[Written]] = defaultdict(list)
    for row in rows:
        if row.transaction is not None:
            alike[row.transaction, row.object_type, row.lookup, row.object_id].append(row)
    found = Net(set(), [])
    for group in alike.values():
        kept = _sufficient(group)
        without_image = {row.pk for row in group if not row.has_image}
        found.redundant.update(without_image - {row.pk for row in kept})
        found.merged.extend(row for row in kept if row not in group)
    return found


def _sufficient(group: Sequence[Written]) -> list[Written]:
    """
    Return the rows without image that suffice for a group of rows about one object.

    These are at most two for each stream, between two rows with an image in it.
    """
    images: Counter[str] = Counter()
    runs: dict[tuple[str, int], list[Written]] = defaultdict(list)
    everywhere: list[Written] = []
    for row in group:
        is_turn = row.verb == "CREATE" or not row.is_everywhere
        if row.has_image:
            images[row.stream] += 1
        else:
            (runs[row.stream, images[row.stream]] if is_turn else everywhere).append(row)
    turns = {row.verb for run in runs.values() for row in run} - {"UPDATE"}
    last = [row for run in runs.values() for row in _sufficient_in_stream(run)]
    if turns and not last:
        return []
    left = [row for row in everywhere if row.verb == "DELETE"]
    return [*last, *_merged(everywhere, left[-1:] or ([] if turns else everywhere[-1:]))]


def _sufficient_in_stream(rows: Sequence[Written]) -> Sequence[Written]:
    """Return the rows that suffice for an object in one stream; none if it was created and then deleted."""
    turns = [row for row in rows if row.verb != "UPDATE"]
    match [turns[0].verb, turns[-1].verb] if turns else []:
        case ["CREATE", "DELETE"]:
            return []
        case ["DELETE", "CREATE"]:
            return [turns[0], turns[-1]]
    return turns[-1:] or _merged(rows, rows[-1:])


def _merged(rows: Sequence[Written], last: Sequence[Written]) -> Sequence[Written]:
    """Return the ``last`` row, if there is one, with the facts about moves of all rows."""
    left = tuple(dict.fromkeys(stream for row in rows for stream in row.left_streams))
    is_move = any(row.is_move for row in rows)
    return [
        row._replace(left_streams=left, is_move=is_move and row.verb == "UPDATE") for row in last
    ]
