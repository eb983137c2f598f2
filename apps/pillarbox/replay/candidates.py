"""Candidates of a replay: rows that may be announced again."""

from typing import NamedTuple

from django.db import connections

from ..conf import pillarbox_settings
from ..models import OUTBOX

# A row that repeats another is as old as that one, which may be pruned.
CANDIDATES = f"""
SELECT id, stream, event, object_type, object_id, coalesce(repeats, id), coalesce(
    (SELECT created_at FROM {OUTBOX} AS first WHERE first.id = coalesce(row.repeats, row.id))
        < statement_timestamp() - make_interval(secs => %s),
    true
), obsolete_at IS NOT NULL
FROM {OUTBOX} AS row WHERE id = ANY(%s) ORDER BY id
"""


class Candidate(NamedTuple):
    """A row that may be announced again. The caller has locked it."""

    pk: int
    stream: str
    event: str
    object_type: str
    object_id: str
    #: The primary key of the row that this one repeats; mostly its own.
    original: int
    #: True if that row is older than the retention, so that rows of its time may be pruned.
    is_old: bool
    #: True if the row has no payload and gets none.
    is_obsolete: bool


def candidates(pks: list[int], *, using: str) -> list[Candidate]:
    """Load candidates for an announcement, ordered by primary key."""
    with connections[using].cursor() as cursor:
        cursor.execute(CANDIDATES, [pillarbox_settings().RETENTION_SECONDS, pks])
        return [Candidate._make(found) for found in cursor.fetchall()]
