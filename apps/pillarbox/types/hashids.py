"""Public ids. They hide the number of objects; they don't grant access."""

import hashlib
import uuid
from collections.abc import Sequence
from functools import lru_cache

from sqids import Sqids
from sqids.constants import DEFAULT_ALPHABET

from ..conf import pillarbox_settings

#: A UUID is encoded as three numbers: its 128 bits are too large for sqids as one number.
UUID_BITS = 43


def encode(object_type: str, pk: int | uuid.UUID) -> str:
    """Return the public id of the object of this type with this primary key."""
    conf = pillarbox_settings()
    return _encode(object_type, conf.HASHID_SALT, conf.HASHID_LENGTH, pk)


def decode(object_type: str, hashid: str) -> int | uuid.UUID | None:
    """Return the primary key of a public id; None if ``encode`` never returns this id for the type."""
    codec = _codec(object_type)
    try:
        numbers = codec.decode(hashid)
        # Sqids decodes other spellings of an id, too, and numbers that it can't encode.
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


# Cached: sqids takes longer than the rest of a notification, and the same objects change repeatedly.
@lru_cache(maxsize=10_000)
def _encode(object_type: str, salt: str, length: int, pk: int | uuid.UUID) -> str:
    return _make(object_type, salt, length).encode(_numbers(pk))


def _codec(object_type: str) -> Sqids:
    conf = pillarbox_settings()
    return _make(object_type, conf.HASHID_SALT, conf.HASHID_LENGTH)


@lru_cache
def _make(object_type: str, salt: str, length: int) -> Sqids:
    # Each type has its own alphabet, so that an id of one type is no valid id of another.
    # It is sorted by digest, not shuffled: public ids must be the same in every Python version.
    def rank(letter: str) -> bytes:
        return hashlib.sha256(f"{salt}:{object_type}:{letter}".encode()).digest()

    return Sqids(alphabet="".join(sorted(DEFAULT_ALPHABET, key=rank)), min_length=length)
