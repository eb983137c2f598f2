"""
The database session in which the project's code renders.

The relay and the project's own tasks may use the connection afterwards. So a session that the code has
changed is closed, and the connection opens a new one.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from django.db import Error, connections

from ...capture.triggers.names import MUTED
from ...capture.wake_ups import TRACE
from ...database import CONNECTION_ERRORS

#: Beginnings of statements that leave a session unchanged, unless they call one of the functions below.
ABOUT_ROWS = re.compile(
    r"[\s(]*(?:select|insert|update|delete|merge|with|values|table|lock|show|explain"
    r"|savepoint|release|rollback\s+to|set\s+local|set\s+constraints)\b"
)
CHANGING = ("set_config", "advisory_lock")
#: Within a text, it begins another statement, unless it is part of a value.
SEPARATOR = ";"
#: Settings that are compared around a batch, since a database function or psycopg can change them unnoticed.
SETTINGS = (
    *("search_path", "row_security", "session_replication_role", "synchronous_commit"),
    *("default_transaction_read_only", "default_transaction_isolation", "TimeZone", "DateStyle"),
    *("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"),
    *("transaction_timeout", MUTED, TRACE),
)
_VALUES = ", ".join(f"current_setting('{setting}', true)" for setting in SETTINGS)
STATE = f"SELECT session_user, current_user, {_VALUES}"

#: The status of a connection without a transaction, in libpq's numbers.
IDLE = 0
#: The state of each psycopg connection before its first batch.
_states: WeakKeyDictionary[Any, object] = WeakKeyDictionary()


@contextmanager
def restored_session_after_batch(using: str) -> Iterator[None]:
    """
    Replace the session after the block if its state has changed, or a transaction is open.

    The check costs one round trip; the first block of a connection costs another one.
    """
    connection = connections[using]
    if connection.in_atomic_block:  # only in a test's transaction
        yield
        return
    connection.ensure_connection()
    before = _states.get(connection.connection) or _state(connection)
    try:
        yield
    finally:
        if connection.connection is not None:
            if before is not None and _is_idle(connection) and _state(connection) == before:
                _states[connection.connection] = before
            else:
                _replace(connection)


@contextmanager
def restored_session_after_payload(using: str) -> Iterator[None]:
    """Replace the session after the block if a statement may have changed it, or a transaction is open."""
    connection, watch = connections[using], _Watch()
    if connection.in_atomic_block:  # only in a test's transaction, which has to stay open
        yield
        return
    try:
        with connection.execute_wrapper(watch):
            yield
    finally:
        if connection.connection is not None:
            if connection.connection.closed:
                connection.close()
            elif watch.has_seen_change or not _is_idle(connection):
                _replace(connection)


def raise_if_away(error: Exception, using: str) -> None:
    """Re-raise an error if the database is away, or has ended the connection."""
    connection = connections[using]
    # Django drops the connection if a transaction can't be rolled back.
    is_dropped = connection.connection is None and isinstance(error, CONNECTION_ERRORS)
    if is_dropped or (connection.connection is not None and not connection.is_usable()):
        raise error


class _Watch:
    """An execute wrapper that notes if a statement may have changed the session."""

    has_seen_change = False

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        """Called for each statement: note a possible change, and execute the statement."""
        text = str(sql).lower().rstrip(f"{SEPARATOR} \n")
        is_about_rows = ABOUT_ROWS.match(text) and SEPARATOR not in text
        if not is_about_rows or any(function in text for function in CHANGING):
            self.has_seen_change = True
        return execute(sql, params, many, context)


def _state(connection: Any) -> object:
    """Return the state of a session; None if it can't be read."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(STATE)
            return cursor.fetchone()
    except Error:
        return None


def _is_idle(connection: Any) -> bool:
    """Return whether autocommit is on, and neither Django nor PostgreSQL has an open transaction."""
    status = connection.connection.info.transaction_status
    is_open = connection.in_atomic_block or status != IDLE
    return connection.autocommit and not is_open


def _replace(connection: Any) -> None:
    """Close the session, and open a new one. Raises OperationalError if the database is away."""
    connection.connection.close()  # a pool would keep a connection that is only returned
    connection.close()
    with connection.wrap_database_errors:
        connection.connect()  # this also resets Django's state of open `atomic` blocks
