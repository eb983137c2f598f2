"""Epochs: the mark of one incarnation of a stream, another after a restore or a failover."""

import hashlib
from functools import lru_cache

from django.contrib.postgres.functions import RandomUUID

from .locks import numbering_lock
from .models import SHARDS, Stream, shard_of

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


def renew(stream: str | None, *, using: str) -> int:
    """
    Begin a new epoch of a stream, or of all; return of how many.

    Shard by shard, between two numberings. Whoever is subscribed notices, as with any change of epoch.
    """
    shards = range(SHARDS) if stream is None else (shard_of(stream),)
    return sum(_renew(shard, stream, using) for shard in shards)


def _renew(shard: int, stream: str | None, using: str) -> int:
    with numbering_lock(shard, using=using):
        streams = Stream.objects.using(using).filter(shard=shard)
        streams = streams if stream is None else streams.filter(name=stream)
        return streams.update(incarnation=RandomUUID())
