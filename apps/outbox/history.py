"""The rows of a stream that retention still keeps, and where the stream stands."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connections

from .epochs import CLUSTER, epoch_of
from .models import NotificationOutbox, Stream, shard_of
from .rows import Row, read

# One statement, and so one snapshot: what is counted is what the head says that there is.
STANDINGS = f"""
SELECT known.name, head, {CLUSTER}, incarnation::text, rows, moves
FROM unnest(%s::text[], %s::bigint[]) AS asked (name, after)
JOIN {Stream._meta.db_table} AS known ON known.name = asked.name
CROSS JOIN LATERAL (
    SELECT count(*), count(*) FILTER (WHERE is_move) FROM {NotificationOutbox._meta.db_table}
    WHERE stream = asked.name AND "offset" > asked.after AND "offset" <= head
) AS found (rows, moves)
"""
MOVED = f"""
SELECT EXISTS (
    SELECT FROM {NotificationOutbox._meta.db_table} WHERE stream = ANY(%(others)s) AND is_move AND id > (
        SELECT min(id) FROM {NotificationOutbox._meta.db_table}
        WHERE stream = %(stream)s AND "offset" > %(after)s
    )
)
"""
AFTER = 'stream = %(stream)s AND "offset" > %(after)s'


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a reader stands: an offset, and the epoch in which it means something."""

    epoch: str
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where a stream stands, and what of its history there is after an offset that was asked about."""

    head: Position
    rows: int = 0
    moves: int = 0

    def continues(self, since: Position) -> bool:
        """
        Whether all that came after the position asked about is there, and may be shown.

        Never in part. What an object was before it moved is not for who may see it where it is now.
        """
        is_known = since.epoch == self.head.epoch and since.offset <= self.head.offset
        return is_known and self.rows == self.head.offset - since.offset and not self.moves


def head(stream: str, *, using: str) -> Position:
    """Return the position of the stream's last numbered row; the stream exists from then on."""
    return standings({stream: None}, using=using)[stream].head


def standings(asked: Mapping[str, int | None], *, using: str) -> dict[str, Standing]:
    """Return where streams stand, and what they have after the offsets. They exist from then on."""
    found = known_standings(asked, using=using)
    if missing := asked.keys() - found.keys():
        created = [Stream(name=name, shard=shard_of(name)) for name in sorted(missing)]
        # Another subscriber, or the relay, may create one in the same instant.
        Stream.objects.using(using).bulk_create(created, ignore_conflicts=True)
        found |= known_standings({name: asked[name] for name in missing}, using=using)
    return found


def known_standings(asked: Mapping[str, int | None], *, using: str) -> dict[str, Standing]:
    """Return what `standings` does, of the streams that exist."""
    with connections[using].cursor() as cursor:
        cursor.execute(STANDINGS, [list(asked), list(asked.values())])
        found = cursor.fetchall()
    return {
        name: Standing(
            head=Position(epoch=epoch_of(cluster, incarnation), offset=offset),
            rows=rows,
            moves=moves,
        )
        for name, offset, cluster, incarnation, rows, moves in found
    }


def moved_since(others: list[str], stream: str, offset: int, *, using: str) -> bool:
    """Whether an object of the ``others`` has moved since the first row of the stream after an offset."""
    with connections[using].cursor() as cursor:
        cursor.execute(MOVED, {"others": others, "stream": stream, "after": offset})
        return bool(cursor.fetchone()[0])


def after(stream: str, offset: int, limit: int, *, using: str) -> list[Row]:
    """
    Return up to ``limit`` numbered rows of the stream with higher offsets, in order.

    The payload of a failed row is not loaded, nor that of a pending one with which a worker died: whoever
    loads it might be the next.
    """
    values = {"stream": stream, "after": offset}
    return read(AFTER, values, using=using, rows=limit, deaths=1)
