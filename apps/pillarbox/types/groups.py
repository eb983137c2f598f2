"""Names of streams, and of their channel-layer groups. No other module knows their format."""

import hashlib
from functools import lru_cache


def stream_for(object_type: str, pk: object) -> str:
    """Return the stream's name for a type and an object, or for a collection and its owner."""
    return f"{object_type}:{pk}"


def parse_stream(stream: str) -> tuple[str, str]:
    """Split a stream's name into the type or collection, and the primary key as text."""
    object_type, _, pk = stream.rpartition(":")
    return object_type, pk


@lru_cache(maxsize=10_000)
def group_for(stream: str) -> str:
    """Return a stream's group: a digest, since Channels limits a group name's length and characters."""
    return f"stream.{hashlib.blake2s(stream.encode(), digest_size=16).hexdigest()}"
