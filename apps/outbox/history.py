"""The rows of a stream that retention still keeps, and where the stream stands."""

from dataclasses import dataclass

from django.db import connections

from .epochs import CLUSTER, epoch_of
from .models import Stream, shard_of
from .rows import Row, read

HEAD = f"SELECT head, {CLUSTER}, incarnation::text FROM {Stream._meta.db_table} WHERE name = %s"
AFTER = 'stream = %(stream)s AND "offset" > %(after)s'


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a reader stands: an offset, and the epoch in which it means something."""

    epoch: str
    offset: int


def head(stream: str, *, using: str) -> Position:
    """Return the position of the stream's last numbered row; the stream exists from then on."""
    if (position := _head(stream, using)) is None:
        # Another subscriber, or the relay, may create it in the same instant.
        created = Stream(name=stream, shard=shard_of(stream))
        Stream.objects.using(using).bulk_create([created], ignore_conflicts=True)
        position = _head(stream, using)
    assert position is not None
    return position


def after(stream: str, offset: int, limit: int, *, using: str) -> list[Row]:
    """
    Return up to ``limit`` numbered rows of the stream with higher offsets, in order.

    The payload of a failed row is not loaded, nor that of a pending one with which a worker died: whoever
    loads it might be the next.
    """
    values = {"stream": stream, "after": offset}
    return read(AFTER, values, using=using, rows=limit, deaths=1)


def _head(stream: str, using: str) -> Position | None:
    with connections[using].cursor() as cursor:
        cursor.execute(HEAD, [stream])
        if (found := cursor.fetchone()) is None:
            return None
    offset, cluster, incarnation = found
    return Position(epoch=epoch_of(cluster, incarnation), offset=offset)
