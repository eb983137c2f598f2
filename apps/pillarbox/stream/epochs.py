"""Epochs: each is the mark of one incarnation of a stream. A restore or a failover changes it."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache, reduce
from operator import or_

from django.contrib.postgres.functions import RandomUUID
from django.db.models import Q

from ..models import SHARDS, STREAMS, Stream, shard_of
from .locks import numbering_lock

#: The part of an epoch that identifies the cluster and the table, as SQL that any role may evaluate. At
#: the end of its recovery, a promoted standby notes its new timeline; its first checkpoint may take minutes.
CLUSTER = f"""(
    (SELECT system_identifier::text FROM pg_control_system()) || '/' ||
    (SELECT greatest(timeline_id, min_recovery_end_timeline)::text
       FROM pg_control_checkpoint(), pg_control_recovery()) || '/' ||
    '{STREAMS}'::regclass::oid::text
)"""


@lru_cache(maxsize=10_000)
def epoch_of(cluster: str, incarnation: str) -> str:
    """Return a stream's epoch, 16 hex digits, from the value of `CLUSTER` and the stream's incarnation."""
    mark = f"{cluster}/{incarnation}"
    return hashlib.blake2s(mark.encode(), digest_size=8).hexdigest()


def renew_all_of(names: Sequence[str], *, using: str) -> None:
    """Begin a new epoch of each stream ``name:…`` with one of the names, such as ``project.tickets``."""
    for shard in range(SHARDS):
        with numbering_lock(shard, using=using):
            streams = Stream.objects.using(using).filter(shard=shard)
            chosen = (Q(name__startswith=f"{name}:") for name in names)
            streams.filter(reduce(or_, chosen)).update(incarnation=RandomUUID())


def renew(stream: str | None, *, using: str) -> int:
    """
    Begin a new epoch of one stream, or of all streams; return how many were renewed.

    It takes each shard's numbering lock in turn. Subscribers get `resynced`, as after any change of epoch.
    """
    shards = range(SHARDS) if stream is None else (shard_of(stream),)
    return sum(_renew(shard, stream, using) for shard in shards)


def _renew(shard: int, stream: str | None, using: str) -> int:
    with numbering_lock(shard, using=using):
        streams = Stream.objects.using(using).filter(shard=shard)
        streams = streams if stream is None else streams.filter(name=stream)
        return streams.update(incarnation=RandomUUID())
