"""How the doctor's checks are asked, and what the processes are made to say."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.db import DEFAULT_DB_ALIAS, connection

from apps.outbox.instances import report
from apps.outbox.models import NotificationOutbox

OUTBOX = NotificationOutbox._meta.db_table


def sql(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def found(answer):
    """Return what an answer finds: sentences; nothing, if all is well."""
    return [] if isinstance(answer, str) else [finding.what for finding in answer]


def one(answer):
    """Return the only finding of an answer."""
    (finding,) = answer
    return finding


@contextmanager
def of_the_database(setting):
    """A setting of the tests' database, for connections that are made from now on."""
    name = connection.settings_dict["NAME"]
    sql(f'ALTER DATABASE "{name}" SET {setting}')
    connection.close()
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute(f'ALTER DATABASE "{name}" RESET {setting.split()[0]}')
        connection.close()


@contextmanager
def liar(function, returns, body):
    """A database in which a function of PostgreSQL's tells something else."""
    sql("CREATE SCHEMA lies")
    sql(f"CREATE FUNCTION lies.{function}() RETURNS {returns} LANGUAGE sql AS $$ SELECT {body} $$")
    try:
        with of_the_database("search_path = lies, pg_catalog, public"):
            yield
    finally:
        sql("DROP SCHEMA lies CASCADE")


def lives(kind, *, name="a", **facts):
    """Somebody reports that it lives."""
    report(f"{kind}@{name}", kind, facts, using=DEFAULT_DB_ALIAS)


def ago(seconds=0.0):
    """Return a moment by this host's clock, as processes say it."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def falls_silent(kind, *, name="a"):
    """Somebody reported that it lives, a while ago."""
    lives(kind, name=name)
    sql(
        "UPDATE outbox_instance SET seen_at = now() - interval '1 minute' WHERE name = %s",
        f"{kind}@{name}",
    )
