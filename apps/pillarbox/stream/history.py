"""The history of streams: the rows that retention still keeps, and each stream's state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections

from ..models import OUTBOX, STREAMS, Stream, shard_of
from .epochs import CLUSTER, epoch_of
from .rows import Row, read

# One statement, and so one snapshot: the counts agree with the head.
STATES = f"""
SELECT known.name, head, {CLUSTER}, incarnation::text, rows, moves
FROM unnest(%s::text[], %s::bigint[]) AS asked (name, after)
JOIN {STREAMS} AS known ON known.name = asked.name
CROSS JOIN LATERAL (
    SELECT count(*), count(*) FILTER (WHERE is_move) FROM {OUTBOX}
    WHERE stream = asked.name AND "offset" > asked.after AND "offset" <= head
) AS found (rows, moves)
"""
COMMITTED = f"""
SELECT EXISTS (
    SELECT FROM {OUTBOX} WHERE stream = %(stream)s AND "offset" > %(after)s
    AND CASE WHEN transaction IS NULL THEN created_at <= %(at)s::timestamptz
        ELSE pg_visible_in_snapshot(transaction::text::xid8, %(snapshot)s::pg_snapshot) END
)
"""
AFTER = 'stream = %(stream)s AND "offset" > %(after)s'


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """The place of a reader in a stream: an offset, and the epoch in which it is valid."""

    epoch: str
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamState:
    """The head of a stream, and the numbers of rows and moves after a given offset."""

    head: Position
    rows: int = 0
    moves: int = 0

    def allows_resume(self, since: Position) -> bool:
        """
        Return whether a reader can resume from ``since``, the position after which this state counts.

        True if the epoch is the same, all later rows are kept, and none of them is a move. Rows before a
        move are never sent, because readers after the move may not have been allowed to see them.
        """
        is_known = since.epoch == self.head.epoch and since.offset <= self.head.offset
        return is_known and self.rows == self.head.offset - since.offset and not self.moves


def head(stream: str, *, using: str) -> Position:
    """Return the position of the stream's last numbered row. Create the stream if it doesn't exist."""
    return stream_states({stream: None}, using=using)[stream].head


def stream_states(asked: Mapping[str, int | None], *, using: str) -> dict[str, StreamState]:
    """Return the states of streams, with counts after the given offsets. Create missing streams."""
    found = existing_stream_states(asked, using=using)
    if missing := asked.keys() - found.keys():
        created = [Stream(name=name, shard=shard_of(name)) for name in sorted(missing)]
        # Another process may create the same stream at the same time.
        Stream.objects.using(using).bulk_create(created, ignore_conflicts=True)
        found |= existing_stream_states({name: asked[name] for name in missing}, using=using)
    return found


def existing_stream_states(
    asked: Mapping[str, int | None], *, using: str
) -> dict[str, StreamState]:
    """Return the states of those streams that exist, like `stream_states`."""
    with connections[using].cursor() as cursor:
        cursor.execute(STATES, [list(asked), list(asked.values())])
        found = cursor.fetchall()
    return {
        name: StreamState(
            head=Position(epoch=epoch_of(cluster, incarnation), offset=offset),
            rows=rows,
            moves=moves,
        )
        for name, offset, cluster, incarnation, rows, moves in found
    }


def has_committed_after(stream: str, offset: int, snapshot: str, at: str, *, using: str) -> bool:
    """
    Return whether the stream has a row after an offset that a snapshot of PostgreSQL already sees.

    A row without a recorded transaction (no trigger wrote it) counts if its transaction began by ``at``.
    """
    values: dict[str, Any] = {"stream": stream, "after": offset, "snapshot": snapshot, "at": at}
    with connections[using].cursor() as cursor:
        cursor.execute(COMMITTED, values)
        return bool(cursor.fetchone()[0])


def after(stream: str, offset: int, limit: int, *, using: str) -> list[Row]:
    """
    Return up to ``limit`` numbered rows of the stream with higher offsets, in order.

    The payload of a skipped row isn't loaded. Nor is that of a pending row with which a worker died, because
    it might kill this process, too.
    """
    values = {"stream": stream, "after": offset}
    return read(AFTER, values, using=using, rows=limit, deaths=1)
