"""Epochs: the mark of one incarnation of a stream, another after a restore or a failover."""

import hashlib
from functools import lru_cache

from .models import Stream

#: What an epoch needs to know of the cluster and the table, as an SQL expression. Any role may read it.
CLUSTER = f"""(
    (SELECT system_identifier::text FROM pg_control_system()) || '/' ||
    (SELECT timeline_id::text FROM pg_control_checkpoint()) || '/' ||
    '{Stream._meta.db_table}'::regclass::oid::text
)"""


@lru_cache(maxsize=10_000)
def epoch_of(cluster: str, incarnation: str) -> str:
    """Return the epoch of a stream, of what `CLUSTER` says and its own random part: 16 hex digits."""
    mark = f"{cluster}/{incarnation}"
    return hashlib.blake2s(mark.encode(), digest_size=8).hexdigest()
