"""Public ids. They hide how many objects there are; they authorise nothing."""

import hashlib
from functools import lru_cache

from sqids import Sqids
from sqids.constants import DEFAULT_ALPHABET

from .conf import realtime_settings


def encode(object_type: str, pk: int) -> str:
    """Return the public id of the object of this type with this primary key."""
    return _codec(object_type).encode([pk])


def decode(object_type: str, hashid: str) -> int | None:
    """Return the primary key behind a public id; None if ``encode`` makes it for no key of this type."""
    codec = _codec(object_type)
    try:
        (pk,) = codec.decode(hashid)
        # Sqids reads several spellings as one number, and numbers that it doesn't write.
        return pk if codec.encode([pk]) == hashid else None
    except ValueError:
        return None


def _codec(object_type: str) -> Sqids:
    conf = realtime_settings()
    return _make(object_type, conf.HASHID_SALT, conf.HASHID_LENGTH)


@lru_cache
def _make(object_type: str, salt: str, length: int) -> Sqids:
    # Each type has an alphabet of its own, so that an id of one means nothing for another.
    # Sorted by digest rather than shuffled: public ids must be the same in every Python version.
    def rank(letter: str) -> bytes:
        return hashlib.sha256(f"{salt}:{object_type}:{letter}".encode()).digest()

    return Sqids(alphabet="".join(sorted(DEFAULT_ALPHABET, key=rank)), min_length=length)
