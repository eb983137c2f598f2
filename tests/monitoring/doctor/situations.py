"""Situations for the checks of the doctor, and ways to read their answers."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.db import DEFAULT_DB_ALIAS, connection

from pillarbox.models import NotificationOutbox
from pillarbox.monitoring.doctor.checklist import checklist
from pillarbox.monitoring.processes import report

OUTBOX = NotificationOutbox._meta.db_table
#: The facts by which a process's role is known.
ROLES = {"worker": "drained_at", "beat": "swept_at", "daphne": "sockets"}


def sql(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def look(name):
    """Return the answer of a check of the doctor now."""
    (check,) = (check for check in checklist() if check.name == name)
    return check.run()


def found(answer):
    """Return the sentences of an answer's findings; an empty list if all is well."""
    return [] if isinstance(answer, str) else [finding.what for finding in answer]


def one(answer):
    """Return the only finding of an answer."""
    (finding,) = answer
    return finding


@contextmanager
def of_the_database(setting):
    """Change a setting of the test database, for new connections, while the block runs."""
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
    """Replace a function of PostgreSQL by one that returns something else, while the block runs."""
    sql("CREATE SCHEMA lies")
    sql(f"CREATE FUNCTION lies.{function}() RETURNS {returns} LANGUAGE sql AS $$ SELECT {body} $$")
    try:
        with of_the_database("search_path = lies, pg_catalog, public"):
            yield
    finally:
        sql("DROP SCHEMA lies CASCADE")


def lives(kind, *, name="a", **facts):
    """Write the report of a live process."""
    role = {ROLES[kind]: 0 if kind == "daphne" else None}
    report(f"{kind}@{name}", kind, role | facts, using=DEFAULT_DB_ALIAS)


def ago(seconds=0.0):
    """Return an earlier time by this host's clock, in the format of processes' reports."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def falls_silent(kind, *, name="a"):
    """Write the report of a process that stopped reporting a minute ago."""
    lives(kind, name=name)
    sql(
        "UPDATE pillarbox_process SET seen_at = now() - interval '1 minute' WHERE name = %s",
        f"{kind}@{name}",
    )
