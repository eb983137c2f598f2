"""
Ends of rights: the rows of the stream `RIGHTS`. Each announces that a right may have ended, or begun.

Each records which transactions were committed when it was numbered. Later transactions were committed under
the rights that this end left.
"""

from typing import Any, NamedTuple

from django.db import connections

from ..models import OUTBOX, RIGHTS, RIGHTS_SHARD
from . import history
from .history import Position

#: A process with more unread ends than this reads none of them: everybody's rights count as ended.
MOST = 5000

BETWEEN = f"""
SELECT "offset", event LIKE 'CREATE%%' AS begins, object_type, object_id, lookup FROM {OUTBOX}
WHERE stream = '{RIGHTS}' AND "offset" > %s AND "offset" <= %s ORDER BY "offset"
"""
# Counts ends that name any user by a lookup: the caller only reads once more than needed.
UNKNOWN = f"""
SELECT EXISTS (
    SELECT FROM (
        SELECT event, "offset" FROM {OUTBOX} WHERE shard = {RIGHTS_SHARD} AND object_type = '{RIGHTS}'
        AND lookup = '' AND object_id IN (%(user)s, '')
        UNION ALL SELECT event, "offset" FROM {OUTBOX} WHERE shard = {RIGHTS_SHARD}
        AND object_type = '{RIGHTS}' AND lookup > ''
        UNION ALL SELECT event, "offset" FROM {OUTBOX} WHERE shard = {RIGHTS_SHARD}
        AND object_type = %(type)s AND lookup = '' AND object_id = %(key)s
    ) AS ends WHERE event NOT LIKE 'CREATE%%' AND ("offset" IS NULL OR "offset" > %(known)s)
)
"""
#: The name of a type and a primary key, as text.
Object = tuple[str, str]


class End(NamedTuple):
    """The end of a right, or of several."""

    offset: int
    #: True if rights only began, so that nobody loses any.
    begins: bool
    #: `RIGHTS` if it names a user, `grants.USER` if a deleted one, `grants.SESSION` if a session, else the
    #: type of an object through which others are visible.
    object_type: str
    #: The user, session or object that it names; empty if it concerns everybody.
    object_id: str
    #: The lookup by which ``object_id`` finds users or objects; empty if it is a primary key, or a session's.
    lookup: str


def has_unknown(user_pk: Any, session: Object, known: int, *, using: str) -> bool:
    """
    Return whether a right of a user, or a session, may have ended that an offset doesn't cover.

    What the caller has read before may have been read without the right.
    """
    values: dict[str, Any] = {"user": str(user_pk), "known": known}
    values["type"], values["key"] = session
    with connections[using].cursor() as cursor:
        cursor.execute(UNKNOWN, values)
        return bool(cursor.fetchone()[0])


def ends_after(known: Position, *, using: str) -> tuple[Position, list[End] | None]:
    """
    Return the head of the stream of ends, and the ends after a known position.

    Instead of the ends, returns None if the epoch has changed, if some were pruned, or if there are more than
    `MOST`.
    """
    head = history.head(RIGHTS, using=using)
    expected = head.offset - known.offset
    if head.epoch != known.epoch or not 0 <= expected <= MOST:
        return head, None
    ends: list[End] = []
    if expected:
        with connections[using].cursor() as cursor:
            cursor.execute(BETWEEN, [known.offset, head.offset])
            ends = list(map(End._make, cursor.fetchall()))
    return head, ends if len(ends) == expected else None
