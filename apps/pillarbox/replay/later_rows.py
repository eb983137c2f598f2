"""The rows after a replay's candidates: newer states of their objects, and moves."""

from collections.abc import Sequence

from django.db import connections

from ..models import OUTBOX
from .candidates import Candidate

# One pass over the history of the batch's streams. A row counts as old as the row that it repeats. A row
# that was already repeated as recorded is superseded, too.
NEWER = f"""
WITH asked AS MATERIALIZED (
    SELECT id, stream, shard, object_type, object_id, coalesce(repeats, id) AS original
    FROM {OUTBOX} WHERE id = ANY(%(pks)s)
), later AS MATERIALIZED (
    SELECT id, stream, object_type, object_id, coalesce(repeats, id) AS original FROM {OUTBOX}
    WHERE stream = ANY(%(streams)s) AND "offset" IS NOT NULL AND failed_at IS NULL
    AND id > (SELECT min(original) FROM asked)
    UNION ALL
    SELECT id, stream, object_type, object_id, coalesce(repeats, id) FROM {OUTBOX}
    WHERE shard = ANY(ARRAY(SELECT DISTINCT shard FROM asked)) AND "offset" IS NULL
    AND stream = ANY(%(streams)s)
), last AS (
    SELECT stream, object_type, object_id, max(original) AS original FROM later GROUP BY 1, 2, 3
)
SELECT id FROM asked JOIN last USING (stream, object_type, object_id) WHERE last.original > asked.original
UNION
SELECT asked.id FROM asked JOIN later USING (stream, original) WHERE later.id > asked.id
"""
MOVES = f"""
SELECT DISTINCT asked.id FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS asked (id, original, stream)
JOIN {OUTBOX} AS row ON row.stream = asked.stream AND row.is_move AND row.id > asked.original
WHERE coalesce(row.repeats, row.id) > asked.original
"""


def newer(batch: Sequence[Candidate], *, using: str) -> set[int]:
    """Return the candidates that a later row of their stream repeats or supersedes, by primary key."""
    pks, streams = [c.pk for c in batch], sorted({c.stream for c in batch})
    with connections[using].cursor() as cursor:
        cursor.execute(NEWER, {"pks": pks, "streams": streams})
        return {pk for (pk,) in cursor.fetchall()}


def moved_since(asked: Sequence[tuple[int, int, str]], *, using: str) -> set[int]:
    """
    Return the candidates with a later move, by primary key.

    Each item is a candidate's primary key, its original's, and a stream in which a move counts.
    """
    if not asked:
        return set()
    with connections[using].cursor() as cursor:
        cursor.execute(MOVES, [list(column) for column in zip(*asked, strict=True)])
        return {pk for (pk,) in cursor.fetchall()}
