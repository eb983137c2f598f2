"""
The two locks of a shard.

They are advisory locks of a transaction, and end with it or with its connection.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InternalError, OperationalError, connections, transaction
from django.db.backends.postgresql.psycopg_any import errors

from ..conf import pillarbox_settings
from ..exceptions import LockLostError, ShardBusyError

#: First halves of the advisory locks' keys; the second half is the shard.
NUMBERING, PUBLISHING = 0x6E756D62, 0x7075626C
TRY = "pg_try_advisory_xact_lock"

#: An offset that sockets saw and a crash undid would be given twice, so its commit waits for the disk.
AT_LEAST_LOCAL = (
    "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'local'"
    " ELSE current_setting('synchronous_commit') END"
)
#: If a crash undoes an outcome, the row is published again at the same offset, which clients ignore.
OFF = "'off'"

#: Errors with which PostgreSQL ends a transaction because of a lock, and the errors raised for them.
REASONS: dict[type[BaseException | None], type[ShardBusyError]] = {
    errors.LockNotAvailable: ShardBusyError,
    errors.IdleInTransactionSessionTimeout: LockLostError,
}


@contextmanager
def numbering_lock(shard: int, *, using: str) -> Iterator[None]:
    """
    Hold the lock for numbering a shard, in a new transaction; wait for it if necessary.

    Holders are done within milliseconds, or PostgreSQL ends them. A statement of its own takes the lock,
    so the snapshot of the next statement is younger than the lock.
    Raises ShardBusyError if the lock, or a row written under it, isn't free in time, and LockLostError if
    PostgreSQL ended the transaction because it was idle.
    """
    with _transaction(shard, using):
        _begin(AT_LEAST_LOCAL, "pg_advisory_xact_lock", NUMBERING, shard, using)
        yield


def lock_numbering(shard: int, *, using: str) -> None:
    """
    Lock the numbering of `RIGHTS_SHARD`, too, in a transaction that holds a `numbering_lock`.

    Its own numbering takes no other lock, so there is no deadlock.
    """
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [NUMBERING, shard])


@contextmanager
def publishing_lock(shard: int, *, using: str) -> Iterator[bool]:
    """
    Hold the lock for publishing a shard, in a new transaction; yield False if another process has it.

    Raises ShardBusyError if a row written under the lock isn't free in time, and LockLostError if
    PostgreSQL ended the transaction because it was idle.
    """
    with _transaction(shard, using):
        yield _begin(OFF, TRY, PUBLISHING, shard, using) is True


@contextmanager
def bounded_transaction(shard: int, *, using: str) -> Iterator[None]:
    """
    Open a transaction for work on a shard. PostgreSQL ends it if this process stops.

    Raises ShardBusyError if a row isn't free in time, and LockLostError if PostgreSQL ended the transaction
    because it was idle.
    """
    with _transaction(shard, using):
        _limit("current_setting('synchronous_commit')", "NULL", [], using)
        yield


@contextmanager
def _transaction(shard: int, using: str) -> Iterator[None]:
    """Open a transaction. Raises ShardBusyError or LockLostError if PostgreSQL ends it for a lock."""
    try:
        with transaction.atomic(using=using, durable=True):
            yield
    except (InternalError, OperationalError) as error:
        if reason := REASONS.get(type(error.__cause__)):
            raise reason(shard) from error
        raise


def _begin(synchronous_commit: str, lock: str, key: int, shard: int, using: str) -> object:
    """Take the lock in the first statement of the transaction; return the lock function's result."""
    return _limit(synchronous_commit, f"{lock}(%s, %s)", [key, shard], using)


def _limit(synchronous_commit: str, lock: str, values: list[int], using: str) -> object:
    """
    Set the limits of the open transaction, then take the lock; return the lock function's result.

    PostgreSQL ends the transaction if it idles or waits for a lock for too long. The limits apply to this
    lock too, because PostgreSQL computes the columns of a row from left to right.
    """
    idle = f"{pillarbox_settings().LOCK_IDLE_SECONDS * 1000:.0f}"
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT set_config('idle_in_transaction_session_timeout', %s, true),"
            " set_config('lock_timeout', %s, true),"
            f" set_config('synchronous_commit', {synchronous_commit}, true), {lock}",
            [idle, idle, *values],
        )
        return cursor.fetchone()[3]
