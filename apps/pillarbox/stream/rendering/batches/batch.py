"""A batch: rows of one shard that one process renders, recorded in the table `Rendering`."""

from dataclasses import dataclass

from django.db import connections

from ....models import RENDERINGS
from ..results import Unrendered

#: A process that hasn't renewed its batch for this long has died or was stopped. A renewal in the future
#: counts as none: the clock was set back since.
UNRENEWED_SECONDS = 2.0

RENEW = f"UPDATE {RENDERINGS} SET seen_at = clock_timestamp() WHERE shard = %s AND turn = %s"
RELEASE = f"UPDATE {RENDERINGS} SET rows = '{{}}' WHERE shard = %s AND turn = %s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A batch of rows of one shard that one process renders."""

    shard: int
    #: Distinguishes the batch from all others of its shard.
    turn: int
    rows: list[Unrendered]


def renew(batch: Batch, *, using: str) -> None:
    """Record that the batch is still being rendered. No effect if another process has taken it over."""
    with connections[using].cursor() as cursor:
        cursor.execute(RENEW, [batch.shard, batch.turn])


def release(batch: Batch, *, using: str) -> bool:
    """Release the batch; return False if another process has taken it over."""
    with connections[using].cursor() as cursor:
        cursor.execute(RELEASE, [batch.shard, batch.turn])
        return bool(cursor.rowcount)
