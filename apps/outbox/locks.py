"""The two locks of a shard. Each lives in a transaction, and so dies with its connection."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InternalError, OperationalError, connections, transaction
from psycopg.errors import IdleInTransactionSessionTimeout, LockNotAvailable

from .conf import outbox_settings
from .exceptions import LockLostError, ShardBusyError

#: First halves of the advisory locks' keys; the second half is the shard.
NUMBERING, PUBLISHING = 0x6E756D62, 0x7075626C
TRY = "pg_try_advisory_xact_lock"

#: An offset that was shown and forgotten in a crash would be given twice: its commit waits for the disk.
AT_LEAST_LOCAL = (
    "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'local'"
    " ELSE current_setting('synchronous_commit') END"
)
#: An outcome that is forgotten in a crash is a row published again, at the offset that it has.
OFF = "'off'"

#: What PostgreSQL says when it ends a transaction for a lock, and what it means here.
REASONS: dict[type[BaseException | None], type[ShardBusyError]] = {
    LockNotAvailable: ShardBusyError,
    IdleInTransactionSessionTimeout: LockLostError,
}


@contextmanager
def numbering_lock(shard: int, *, using: str) -> Iterator[None]:
    """
    Hold the right to number a shard, in a transaction of its own; wait for it if need be.

    Its holders are done within milliseconds, or cut off by PostgreSQL. No statement that reads takes the
    lock, so that the snapshot of the next one is younger than the lock.
    Raises ShardBusyError if it, or a row that is written under it, can't be had in time; LockLostError.
    """
    with _transaction(shard, using):
        _begin(AT_LEAST_LOCAL, "pg_advisory_xact_lock", NUMBERING, shard, using)
        yield


@contextmanager
def publishing_lock(shard: int, *, using: str) -> Iterator[bool]:
    """
    Hold the right to publish a shard, in a transaction of its own; False if another has it.

    Raises ShardBusyError if a row that is written under it can't be had in time; LockLostError.
    """
    with _transaction(shard, using):
        yield _begin(OFF, TRY, PUBLISHING, shard, using) is True


def publishing_is_free(shard: int, *, using: str) -> bool:
    """Whether nobody publishes the shard; nobody else begins to before the open transaction ends."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {TRY}(%s, %s)", [PUBLISHING, shard])
        return cursor.fetchone()[0] is True


@contextmanager
def _transaction(shard: int, using: str) -> Iterator[None]:
    """Open a transaction. Raises an error of ours if PostgreSQL ended it for a lock."""
    try:
        with transaction.atomic(using=using, durable=True):
            yield
    except (InternalError, OperationalError) as error:
        if reason := REASONS.get(type(error.__cause__)):
            raise reason(shard) from error
        raise


def _begin(synchronous_commit: str, lock: str, key: int, shard: int, using: str) -> object:
    """
    Lock; return what PostgreSQL says to it. The lock is the first statement of its transaction.

    PostgreSQL ends the transaction if its owner does nothing, or waits, for too long: for the lock too,
    because it computes the columns of a row from the left.
    """
    idle = f"{outbox_settings().LOCK_IDLE_SECONDS * 1000:.0f}"
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT set_config('idle_in_transaction_session_timeout', %s, true),"
            " set_config('lock_timeout', %s, true),"
            f" set_config('synchronous_commit', {synchronous_commit}, true), {lock}(%s, %s)",
            [idle, idle, key, shard],
        )
        return cursor.fetchone()[3]
