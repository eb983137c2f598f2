"""Public ids. They hide how many objects there are; they authorise nothing."""

import hashlib
import uuid
from collections.abc import Sequence
from functools import lru_cache

from sqids import Sqids
from sqids.constants import DEFAULT_ALPHABET

from .conf import realtime_settings

#: A UUID becomes three numbers, since one of 128 bits is too large for sqids.
UUID_BITS = 43


def encode(object_type: str, pk: int | uuid.UUID) -> str:
    """Return the public id of the object of this type with this primary key."""
    conf = realtime_settings()
    return _encode(object_type, conf.HASHID_SALT, conf.HASHID_LENGTH, pk)


def decode(object_type: str, hashid: str) -> int | uuid.UUID | None:
    """Return the primary key behind a public id; None if ``encode`` makes it for no key of this type."""
    codec = _codec(object_type)
    try:
        numbers = codec.decode(hashid)
        # Sqids reads several spellings as one number, and numbers that it doesn't write.
        return _pk(numbers) if codec.encode(numbers) == hashid else None
    except ValueError:
        return None


def _numbers(pk: int | uuid.UUID) -> list[int]:
    if not isinstance(pk, uuid.UUID):
        return [pk]
    low = 2**UUID_BITS - 1
    return [pk.int >> 2 * UUID_BITS, pk.int >> UUID_BITS & low, pk.int & low]


def _pk(numbers: Sequence[int]) -> int | uuid.UUID:
    if len(numbers) == 1:
        return numbers[0]
    pk = uuid.UUID(int=sum(n << UUID_BITS * place for place, n in enumerate(reversed(numbers))))
    if _numbers(pk) != list(numbers):
        raise ValueError(numbers)
    return pk


# Sqids takes longer than all the rest of a notification, and the same objects come again and again.
@lru_cache(maxsize=10_000)
def _encode(object_type: str, salt: str, length: int, pk: int | uuid.UUID) -> str:
    return _make(object_type, salt, length).encode(_numbers(pk))


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
