"""Streams and groups. The only place that knows how a stream is named, here and on the channel layer."""

import hashlib
from functools import lru_cache


def stream_for(object_type: str, pk: object) -> str:
    """Return the stream of an object, or of a collection (``project.tickets``) and its owner."""
    return f"{object_type}:{pk}"


def parse_stream(stream: str) -> tuple[str, str]:
    """Return the object type and the primary key, as text, of a stream."""
    object_type, _, pk = stream.rpartition(":")
    return object_type, pk


@lru_cache(maxsize=10_000)
def group_for(stream: str) -> str:
    """Return the group of a stream. Hashed, because a group's name is short and plain ASCII."""
    return f"stream.{hashlib.blake2s(stream.encode(), digest_size=16).hexdigest()}"
