"""The rows of a claim: they are loaded, settled and released by the worker that publishes them."""

from collections.abc import Iterable

from django.db import connections

from ..conditions import PUBLISHABLE
from ..models import CLAIMS, OUTBOX
from ..stream.rows import Row, read

CLAIMED = f"id = ANY(%(pks)s) AND {PUBLISHABLE.sql}"
IS_CURRENT = f"SELECT FROM {CLAIMS} WHERE shard = %s AND rows = %s::bigint[]"
SETTLE = f"""
UPDATE {OUTBOX} SET published_at = statement_timestamp(), claims = claims + 1
WHERE id = ANY(%s) AND {PUBLISHABLE.sql}
"""
RELEASE = f"UPDATE {CLAIMS} SET rows = '{{}}' WHERE shard = %s"


def load(pks: list[int], *, using: str, longest: int) -> list[Row]:
    """
    Return the claimed rows in order, with payloads of up to ``longest`` bytes.

    There are as many rows as ``BATCH_BYTES`` allows, at least one. Call it before taking the publishing
    lock: PostgreSQL waits without limit for a slow reader, and must not hold the lock meanwhile.
    """
    return read(CLAIMED, {"pks": pks}, using=using, longest=longest)


def is_still_claimed(shard: int, pks: list[int], *, using: str) -> bool:
    """Return whether exactly these rows are claimed. Stays true while the caller has the publishing lock."""
    with connections[using].cursor() as cursor:
        cursor.execute(IS_CURRENT, [shard, pks])
        return bool(cursor.fetchall())


def settle(rows: Iterable[Row], *, using: str) -> int:
    """Record that the rows are published; return how many. The caller holds the publishing lock."""
    with connections[using].cursor() as cursor:
        cursor.execute(SETTLE, [[row.pk for row in rows]])
        return int(cursor.rowcount)


def release(shard: int, *, using: str) -> None:
    """Clear the shard's claim. The caller holds the publishing lock."""
    with connections[using].cursor() as cursor:
        cursor.execute(RELEASE, [shard])
