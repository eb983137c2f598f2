"""The shards: fixed parts of all streams, by hash, and one for the ends of rights."""

import hashlib

#: The stream of all ends of rights, and its shard, which has no other stream. Other streams are spread over
#: the shards before it. These values are stored in each row, so they can't change.
RIGHTS, RIGHTS_SHARD = "rights", 16
SHARDS = RIGHTS_SHARD + 1


def shard_of(stream: str) -> int:
    """Return the shard of a stream. It is the same in every process and version."""
    if stream == RIGHTS:
        return RIGHTS_SHARD
    # Triggers compute the same digest in SQL.
    return hashlib.md5(stream.encode(), usedforsecurity=False).digest()[0] % RIGHTS_SHARD
