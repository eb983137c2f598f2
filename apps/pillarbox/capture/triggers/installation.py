"""Installation: differences between the triggers that the registry requires and those of a database."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from django.db import DatabaseError, OperationalError, connections

from ...exceptions import SecondSchemaError, TriggersError
from .conditions import failure
from .ddl import apply_ddl, is_lock_timeout
from .names import LABEL
from .renewals import renewals
from .required import TRIGGERS, Trigger, required

# A table that lacks one of our triggers, or its copy in a partition, counts as one without any. A function
# whose table was dropped has no table in the result. A trigger that is enabled for replication only ('R')
# captures no change.
FOUND = f"""
SELECT quote_ident(spaces.nspname) || '.' || quote_ident(relname),
    quote_ident(functions.nspname) || '.' || quote_ident(proname),
    CASE WHEN is_whole THEN coalesce(obj_description(tgfoid, 'pg_proc'), '') END,
    CASE WHEN is_whole THEN prosrc ELSE '' END, tgtype & 1 = 1
FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid JOIN pg_class ON pg_class.oid = tgrelid
JOIN pg_namespace AS spaces ON spaces.oid = relnamespace
JOIN pg_namespace AS functions ON functions.oid = pronamespace
CROSS JOIN LATERAL (
    SELECT count(*) = 3 AND NOT EXISTS (
        SELECT FROM pg_trigger AS copy
        WHERE copy.tgfoid = pg_proc.oid AND copy.tgparentid <> 0 AND copy.tgenabled NOT IN ('O', 'A')
    )
    FROM pg_trigger AS other
    WHERE other.tgrelid = pg_class.oid AND tgenabled IN ('O', 'A')
    AND tgname IN ('{LABEL}_insert', '{LABEL}_delete', '{LABEL}_truncate')
) AS found (is_whole)
WHERE tgname = '{LABEL}' AND tgparentid = 0 AND tgenabled IN ('O', 'A')
UNION ALL
SELECT NULL, quote_ident(nspname) || '.' || quote_ident(proname), '', '', false
FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
WHERE proname ~ '^{LABEL}_[0-9a-f]{{16}}$' AND prorettype = 'trigger'::regtype
AND obj_description(pg_proc.oid, 'pg_proc') IS NOT NULL
AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = pg_proc.oid)
"""
#: The schema at the beginning of a quoted name. Both names may contain dots, then within quotes.
SCHEMA = re.compile(r'^(?:"(?:[^"]|"")*"|[^".]*)\.')
# If a table was renamed and another one got its name, both may use the function.
DROP_FUNCTION = """\
DO $$ BEGIN
    DROP FUNCTION IF EXISTS {function}();
EXCEPTION WHEN dependent_objects_still_exist THEN NULL;
END $$"""
DROP = (
    *(f"DROP TRIGGER IF EXISTS {name} ON {{table}}" for name in (*TRIGGERS, f"{LABEL}_truncate")),
    DROP_FUNCTION,
)


class TriggerProblem(StrEnum):
    """How a table differs from what the registry requires, as the end of a sentence about it."""

    MISSING = "has no trigger"
    OUTDATED = "has the trigger of another version"
    NOT_LIVE = "has a trigger and is not live"
    UNUSED = "is a function that no table uses"
    SECOND = "has the name of a live table in another schema"
    CONDITION = "has a condition that its trigger can't evaluate"
    VIEW = "is not a table, so it can't have a trigger"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A table or a function that differs from what the registry requires, and the SQL that repairs it."""

    table: str
    problem: TriggerProblem
    statements: tuple[str, ...]
    #: PostgreSQL's reason, if there is one.
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.table} {self.problem}" + (f": {self.reason}" if self.reason else "")


class Installed(NamedTuple):
    """The triggers that one table has."""

    #: The quoted name of their function.
    function: str
    #: The function's digest; None if one of the triggers is missing.
    digest: str | None
    #: The function's source; empty if one of the triggers is missing.
    source: str
    by_row: bool


def differences(*, using: str) -> Iterator[Difference]:
    """Yield each difference between the database and the registry."""
    installed, unused = _installed(using)
    triggers, views = required(using=using)
    for trigger in triggers:
        found = installed.pop(trigger.table, None)
        if reason := _reason(trigger, using):
            condition = TriggerProblem.CONDITION
            yield Difference(table=trigger.table, problem=condition, statements=(), reason=reason)
        elif found is None or found.digest != trigger.digest:
            yield _difference(trigger, found)
    functions = {trigger.function for trigger in triggers}
    names = {_unqualified(trigger.table) for trigger in triggers}
    for table in [table for table in installed if _unqualified(table) in names]:
        del installed[table]
        yield Difference(table=table, problem=TriggerProblem.SECOND, statements=())
    yield from _superfluous(installed, [one for one in unused if one not in functions])
    for view in views:
        yield Difference(table=view, problem=TriggerProblem.VIEW, statements=())


def _reason(trigger: Trigger, using: str) -> str:
    """Return why a trigger can't evaluate the conditions of its types; empty if it can."""
    failures = (
        (rule.object_type, failure(rule.where, trigger.table, using=using))
        for rule in trigger.rules
        if rule.where
    )
    return "; ".join(f"`where` of {name}: {reason}" for name, reason in failures if reason)


def _difference(trigger: Trigger, installed: Installed | None) -> Difference:
    """Return the difference between a required trigger and the one that its table has, if any."""
    if installed is None or installed.digest is None:
        problem, source = TriggerProblem.MISSING, ""
    else:
        problem, source = TriggerProblem.OUTDATED, installed.source
    epochs = renewals(trigger.rules, source)
    statements = (*trigger.statements, *epochs)
    if installed is not None:
        if installed.function != trigger.function:  # the table was renamed
            statements = (*statements, DROP_FUNCTION.format(function=installed.function))
        elif source and not epochs and installed.by_row == trigger.by_row:
            # Only the function differs. Its replacement waits for no writer.
            statements = trigger.replacement
    return Difference(table=trigger.table, problem=problem, statements=statements)


def install(*, using: str, seconds: float = 60.0) -> list[Difference]:
    """
    Give the database the triggers that the registry requires; return the repaired differences.

    Raises TriggersError if some tables stay locked for ``seconds``, if this role may not change them, or if a
    trigger can't evaluate the `where` of a type. All others are then repaired. Raises SecondSchemaError, and
    repairs nothing, if a table in another schema has the name of a live one, and a trigger.
    """
    found = [*differences(using=using)]
    if second := [one.table for one in found if one.problem is TriggerProblem.SECOND]:
        raise SecondSchemaError(second)
    refused = {difference.table: difference.reason for difference in found if difference.reason}
    found = [difference for difference in found if difference.statements]
    _repair(found, seconds, using, refused)
    return found


def remove(*, using: str, seconds: float = 60.0) -> int:
    """Drop the triggers and their functions; return how many. Raises as `install` does."""
    installed, unused = _installed(using)
    _repair(list(_superfluous(installed, unused)), seconds, using, {})
    return len(installed)


def _superfluous(installed: Mapping[str, Installed], unused: Iterable[str]) -> Iterator[Difference]:
    """Yield the triggers of tables that are not live, and the functions of dropped tables."""
    for table, trigger in installed.items():
        drop = tuple(sql.format(table=table, function=trigger.function) for sql in DROP)
        yield Difference(table=table, problem=TriggerProblem.NOT_LIVE, statements=drop)
    for function in unused:
        drop = (DROP_FUNCTION.format(function=function),)
        yield Difference(table=function, problem=TriggerProblem.UNUSED, statements=drop)


def _repair(
    found: Iterable[Difference], seconds: float, using: str, refused: Mapping[str, str]
) -> None:
    """
    Repair each difference in a transaction of its own.

    At the end, raises TriggersError if some failed, or if some tables are ``refused``.
    """
    deadline, reasons = time.monotonic() + seconds, dict(refused)
    for difference in found:
        try:
            apply_ddl(difference.statements, deadline, using)
        except DatabaseError as error:
            if isinstance(error, OperationalError) and not is_lock_timeout(error):
                raise
            reasons[difference.table] = str(error).partition("\n")[0]
    if reasons:
        raise TriggersError(reasons)


def _installed(using: str) -> tuple[dict[str, Installed], list[str]]:
    """Return our triggers by table, and our functions without a table."""
    with connections[using].cursor() as cursor:
        cursor.execute(FOUND)
        found = cursor.fetchall()
    installed = {table: Installed(*one) for table, *one in found if table is not None}
    return installed, [function for table, function, *_ in found if table is None]


def _unqualified(table: str) -> str:
    """Return a quoted name without its schema."""
    return SCHEMA.sub("", table, count=1)
