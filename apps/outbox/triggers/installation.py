"""Installation: the triggers that the registry asks for, and those that a database has."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, connections, router, transaction
from psycopg.errors import LockNotAvailable

from ..announcers import connected
from .functions import LABEL, OUTBOX, function_name, function_sql, quoted
from .rules import rules

#: The key of the lock under which one process at a time installs.
INSTALLING = 0x696E7374
#: How long one attempt waits for a table that somebody else has locked; others wait behind it meanwhile.
LOCK_TIMEOUT = "1s"

TABLE = """
SELECT quote_ident(nspname), quote_ident(relname) FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = to_regclass(%s)
"""
FOUND = f"""
SELECT quote_ident(nspname) || '.' || quote_ident(relname), tgfoid::regproc::text,
    coalesce(obj_description(tgfoid, 'pg_proc'), '')
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE tgname = '{LABEL}' AND tgparentid = 0 AND tgenabled <> 'D'
"""
CREATE = f"""\
CREATE OR REPLACE TRIGGER {LABEL} AFTER INSERT OR UPDATE OR DELETE ON {{table}}
FOR EACH ROW EXECUTE FUNCTION {{function}}()"""
DROP = f"DROP TRIGGER IF EXISTS {LABEL} ON {{table}}", "DROP FUNCTION IF EXISTS {function}()"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """The trigger of one live table. Its names are as SQL writes them, with their schemas."""

    table: str
    function: str
    #: The SQL that makes the function.
    body: str

    @property
    def digest(self) -> str:
        """The mark of the function's version, which the database keeps as a comment."""
        return hashlib.sha256(self.body.encode()).hexdigest()[:16]

    @property
    def statements(self) -> tuple[str, ...]:
        """The SQL that makes the trigger, or brings it up to date. It may be run again."""
        comment = f"COMMENT ON FUNCTION {self.function}() IS '{self.digest}'"
        create = CREATE.format(table=self.table, function=self.function)
        return self.body, comment, create


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A table whose trigger is missing, of another version, or not asked for; and the SQL that mends it."""

    table: str
    problem: str
    statements: tuple[str, ...]


def expected(*, using: str) -> list[Trigger]:
    """Return the triggers that the registry asks for, of the tables that exist, by table."""
    with connections[using].cursor() as cursor:
        schema, outbox = _find(cursor, quoted(OUTBOX)) or ("", "")
        found = []
        for model, of_table in rules(connected()).items():
            place = _find(cursor, connections[using].ops.quote_name(model._meta.db_table))
            if place is None or not schema or router.db_for_write(model) != using:
                continue
            table = ".".join(place)
            function = f"{schema}.{function_name(table)}"
            body = function_sql(
                function=function, table=table, outbox=f"{schema}.{outbox}", rules=of_table
            )
            found.append(Trigger(table=table, function=function, body=body))
    return sorted(found, key=lambda trigger: trigger.table)


def differences(*, using: str) -> Iterator[Difference]:
    """Yield each difference between the database and the registry."""
    installed = _installed(using)
    for trigger in expected(using=using):
        _, digest = installed.pop(trigger.table, ("", None))
        if digest != trigger.digest:
            problem = "has no trigger" if digest is None else "has the trigger of another version"
            yield Difference(table=trigger.table, problem=problem, statements=trigger.statements)
    for table, (function, _) in installed.items():
        drop = tuple(sql.format(table=table, function=function) for sql in DROP)
        yield Difference(table=table, problem="has a trigger and is not live", statements=drop)


def install(*, using: str, seconds: float = 60.0) -> list[Difference]:
    """
    Make the database's triggers those of the registry; return what differed.

    Raises OperationalError if one of the tables stays locked for ``seconds``.
    """
    found = list(differences(using=using))
    for difference in found:
        _execute_patiently(difference.statements, seconds, using)
    return found


def remove(*, using: str, seconds: float = 60.0) -> None:
    """Drop the triggers and their functions: nothing is captured any more. Raises as `install` does."""
    for table, (function, _) in _installed(using).items():
        drop = tuple(sql.format(table=table, function=function) for sql in DROP)
        _execute_patiently(drop, seconds, using)


def _execute_patiently(statements: tuple[str, ...], seconds: float, using: str) -> None:
    """Execute statements in one transaction, again and again while a table that they need is locked."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            _execute(statements, using)
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable) or time.monotonic() > deadline:
                raise
        else:
            return


def _execute(statements: tuple[str, ...], using: str) -> None:
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [INSTALLING])
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
        for statement in statements:
            cursor.execute(statement)


def _installed(using: str) -> dict[str, tuple[str, str]]:
    """Return function and digest of each of our triggers, by table."""
    with connections[using].cursor() as cursor:
        cursor.execute(FOUND)
        return {table: (function, digest) for table, function, digest in cursor.fetchall()}


def _find(cursor: Any, table: str) -> tuple[str, str] | None:
    """Return schema and name of a table, as SQL writes them; None if the search path has no such table."""
    cursor.execute(TABLE, [table])
    found: tuple[str, str] | None = cursor.fetchone()
    return found
