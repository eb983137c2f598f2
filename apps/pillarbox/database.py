"""The database connection: its errors by what they mean, a time limit for statements, and its end."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    close_old_connections,
    connections,
    transaction,
)
from django.db.backends.postgresql.psycopg_any import errors

from .conf import pillarbox_settings

#: Parameters that PostgreSQL reports by itself whenever they change; "on" means that it takes no writes.
READ_ONLY = ("in_hot_standby", "default_transaction_read_only")

P = ParamSpec("P")
T = TypeVar("T")

#: Why another database than PostgreSQL is refused, and the setting to write.
NEEDS_POSTGRESQL = "The outbox needs PostgreSQL."
USE_POSTGRESQL = (
    'DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": …, "USER": …, '
    '"PASSWORD": …, "HOST": …}}, in tests, too.'
)
#: Errors that mean that the database is away, is shutting down, or cancelled a statement.
CONNECTION_ERRORS = (InterfaceError, OperationalError)
#: The same for code that works in long transactions, as the relay does: PostgreSQL ends one that idles or
#: takes too long, with an InternalError.
AWAY_OR_ENDED = (*CONNECTION_ERRORS, InternalError)
#: The same for code with a deadline of its own, as sockets have: they also give up waiting for a thread or a
#: connection. An InternalError is a fault of the code there.
AWAY_OR_SLOW = (*CONNECTION_ERRORS, TimeoutError)
#: Every error of a statement, for code that only reports it. An InterfaceError is no DatabaseError.
STATEMENT_ERRORS = (DatabaseError, InterfaceError)


def limit_statements(seconds: float, *, using: str) -> None:
    """
    Limit the duration of each further statement in the open transaction.

    PostgreSQL cancels a statement that takes longer, with an OperationalError. The limit ends with the
    transaction, because behind a pooler another client uses the connection next.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true)", [f"{seconds * 1000:.0f}"]
        )


def limited(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function in a transaction, each of whose statements may take ``DATABASE_SECONDS``."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with transaction.atomic():
            limit_statements(pillarbox_settings().DATABASE_SECONDS, using=DEFAULT_DB_ALIAS)
            return function(*args, **kwargs)

    return run


def close_stale_connections(*, using: str = DEFAULT_DB_ALIAS) -> None:
    """Close this thread's connections that are broken or old, and the one to ``using`` if it is read-only."""
    close_if_read_only(using=using)
    close_old_connections()


def close_if_read_only(*, using: str = DEFAULT_DB_ALIAS, **_: Any) -> None:
    """
    Close this thread's connection to ``using`` if its server has become read-only.

    Such a server was the primary before a failover. The next connection leads to the new primary. Also called
    when a request starts, since Django keeps connections that answer.
    """
    if is_read_only(using=using):
        connection = connections[using]
        connection.connection.close()  # a pool would keep a connection that is only returned
        connection.close()


def is_read_only(*, using: str) -> bool:
    """Return whether the server of this thread's open connection takes no writes. It queries nothing."""
    opened = connections[using].connection
    if not is_postgresql(using=using) or opened is None or opened.closed:
        return False
    return any("on" == opened.info.parameter_status(name) for name in READ_ONLY)


def is_statement_cancelled(error: BaseException) -> bool:
    """Return whether PostgreSQL cancelled a statement, for example because it took too long."""
    return isinstance(error.__cause__, errors.QueryCanceled)


def is_postgresql(*, using: str) -> bool:
    """Return whether the database is PostgreSQL, by its settings."""
    return connections[using].vendor == "postgresql"
