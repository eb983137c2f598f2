"""DDL: statements that need exclusive locks on tables. Each attempt waits only briefly for its locks."""

import time

from django.db import OperationalError, connections, transaction
from django.db.backends.postgresql.psycopg_any import errors

#: The key of the advisory lock that lets one process at a time install triggers.
INSTALLING = 0x696E7374
#: The longest wait of one attempt for a locked table: other transactions queue behind the attempt.
LOCK_TIMEOUT = "1s"


def apply_ddl(statements: tuple[str, ...], deadline: float, using: str) -> None:
    """
    Run statements in one transaction, and try again while one of their tables is locked.

    After the ``deadline``, a time of `time.monotonic`, it raises the error of the last attempt.
    """
    while True:
        try:
            _try(statements, using)
        except OperationalError as error:
            if not is_lock_timeout(error) or time.monotonic() > deadline:
                raise
        else:
            return


def is_lock_timeout(error: Exception) -> bool:
    """Return whether a statement failed because a table was locked for too long."""
    return isinstance(error.__cause__, errors.LockNotAvailable)


def _try(statements: tuple[str, ...], using: str) -> None:
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [INSTALLING])
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
        for statement in statements:
            cursor.execute(statement)
