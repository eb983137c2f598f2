"""The models, and the names of their tables for statements in SQL."""

from .claims import CLAIMS, RENDERINGS, Claim, Rendering
from .one_time_tokens import OneTimeToken
from .operations import MinuteCounts, Process, Replay
from .outbox import NUMBERING_SEQUENCE, OUTBOX, STATES, TRUNCATE, NotificationOutbox, OutboxQuerySet
from .shards import RIGHTS, RIGHTS_SHARD, SHARDS, shard_of
from .streams import STREAMS, Stream

__all__ = [
    "CLAIMS",
    "NUMBERING_SEQUENCE",
    "OUTBOX",
    "RENDERINGS",
    "RIGHTS",
    "RIGHTS_SHARD",
    "SHARDS",
    "STATES",
    "STREAMS",
    "TRUNCATE",
    "Claim",
    "MinuteCounts",
    "NotificationOutbox",
    "OneTimeToken",
    "OutboxQuerySet",
    "Process",
    "Rendering",
    "Replay",
    "Stream",
    "shard_of",
]
