"""The triggers that the registry requires, and the SQL that creates them."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from django.db import connections, router

from ...models import OUTBOX
from ...types.live_models import all_announcers
from .expressions import quoted
from .functions import function_sql
from .names import CHANGED, LABEL, REPLACED, function_name
from .rules import Rule, rules

#: PostgreSQL's letters for the relations that can have our triggers. Views can't.
PARTITIONED = "p"
TABLE_KINDS = ("r", PARTITIONED)
# A write to a table through its parent or child fires only row triggers, so these tables need such.
TABLES = """
SELECT name, quote_ident(nspname), quote_ident(relname), relkind, relkind = 'p' OR EXISTS (
    SELECT FROM pg_inherits WHERE pg_class.oid IN (inhrelid, inhparent)
)
FROM unnest(%s::text[]) AS asked (name)
JOIN pg_class ON pg_class.oid = to_regclass(name) JOIN pg_namespace ON pg_namespace.oid = relnamespace
"""
#: The columns of the outbox that triggers write. If one were missing, each write to a live table would fail.
WRITTEN = [
    *("stream", "shard", "event_id", "event", "object_type", "object_id"),
    *("transaction", "image", "is_move", "is_everywhere", "lookup", "left_streams", "payload"),
]
COLUMNS = """
SELECT count(*) FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attname = ANY(%s) AND NOT attisdropped
"""
#: Our triggers: name → event, and the transition tables of a statement trigger.
TRIGGERS = {
    f"{LABEL}_insert": ("INSERT", f"NEW TABLE AS {CHANGED}"),
    LABEL: ("UPDATE", f"OLD TABLE AS {REPLACED} NEW TABLE AS {CHANGED}"),
    f"{LABEL}_delete": ("DELETE", f"OLD TABLE AS {CHANGED}"),
}
CREATE = """\
CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {table}
{level} EXECUTE FUNCTION {function}()"""
# A BEFORE trigger, because a TRUNCATE that also empties the outbox must remove its row.
CREATE_TRUNCATE = f"""\
CREATE OR REPLACE TRIGGER {LABEL}_truncate BEFORE TRUNCATE ON {{table}}
FOR EACH STATEMENT EXECUTE FUNCTION {{function}}()"""


def creation(*, table: str, function: str, by_row: bool) -> Iterator[str]:
    """Yield the SQL that creates the triggers of a table. Both names are quoted for SQL."""
    for name, (event, rows) in TRIGGERS.items():
        level = "FOR EACH ROW" if by_row else f"REFERENCING {rows} FOR EACH STATEMENT"
        yield CREATE.format(name=name, event=event, table=table, level=level, function=function)
    yield CREATE_TRUNCATE.format(table=table, function=function)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """The triggers of one live table, and their function. Names have their schema and are quoted for SQL."""

    table: str
    function: str
    #: The SQL that creates the function.
    body: str
    rules: tuple[Rule, ...]
    #: True if the function is called for each row, False if for each statement.
    by_row: bool

    @property
    def digest(self) -> str:
        """The digest of the function's version. The database keeps it as the function's comment."""
        return hashlib.sha256(self.body.encode()).hexdigest()[:16]

    @property
    def replacement(self) -> tuple[str, ...]:
        """The SQL that creates or replaces the function. It waits for no writer, and no writer for it."""
        # The function has its owner's rights, so no other role may create a trigger with it.
        revoke = f"REVOKE ALL ON FUNCTION {self.function}() FROM PUBLIC"
        return self.body, revoke, f"COMMENT ON FUNCTION {self.function}() IS '{self.digest}'"

    @property
    def statements(self) -> tuple[str, ...]:
        """The SQL that creates function and triggers. It can be repeated, and waits for writers."""
        triggers = creation(table=self.table, function=self.function, by_row=self.by_row)
        return *self.replacement, *triggers


class Required(NamedTuple):
    """The triggers that the registry requires in one database."""

    #: The triggers of the existing tables, by table.
    triggers: list[Trigger]
    #: The quoted names of live views, which can't have triggers.
    views: list[str]


def required(*, using: str) -> Required:
    """
    Return the triggers that the registry requires, for those tables that exist.

    There are none if the database has no outbox, or if the outbox isn't migrated yet.
    """
    if not _has_outbox(using):
        return Required([], [])
    live = _live(using)
    places = _places([*live, quoted(OUTBOX)], using)
    outbox = places.pop(quoted(OUTBOX))
    merged: dict[_Place, list[Rule]] = defaultdict(list)
    for name in filter(places.__contains__, live):
        # One model may name the table with its schema, and another one without.
        merged[places[name]] += live[name]
    triggers = [
        _trigger(place, outbox, of_table)
        for place, of_table in merged.items()
        if place.kind in TABLE_KINDS
    ]
    views = [place.table for place in merged if place.kind not in TABLE_KINDS]
    return Required(sorted(triggers, key=lambda trigger: trigger.table), views)


def _trigger(place: "_Place", outbox: "_Place", rules_of_table: list[Rule]) -> Trigger:
    function = f"{outbox.schema}.{function_name(place.table)}"
    body = function_sql(
        function=function,
        table=place.table,
        outbox=outbox.table,
        rules=rules_of_table,
        is_partitioned=place.kind == PARTITIONED,
        by_row=place.by_row,
    )
    return Trigger(
        table=place.table,
        function=function,
        body=body,
        rules=tuple(rules_of_table),
        by_row=place.by_row,
    )


def _live(using: str) -> dict[str, list[Rule]]:
    """Return the rules of each live table of a database, by its quoted name."""
    quote = connections[using].ops.quote_name
    live: dict[str, list[Rule]] = defaultdict(list)
    for model, of_model in rules(all_announcers()).items():
        if router.db_for_write(model) == using:
            live[quote(model._meta.db_table)] += of_model  # several models may have one table
    return live


def _has_outbox(using: str) -> bool:
    """Return whether the database has an outbox with the columns that triggers write."""
    with connections[using].cursor() as cursor:
        cursor.execute(COLUMNS, [quoted(OUTBOX), WRITTEN])
        return bool(cursor.fetchone()[0] == len(WRITTEN))


class _Place(NamedTuple):
    """Where a table is. The names are quoted for SQL."""

    schema: str
    name: str
    #: PostgreSQL's letter for the kind of the relation.
    kind: str
    #: True if the table needs row triggers.
    by_row: bool

    @property
    def table(self) -> str:
        """The table's name with its schema."""
        return f"{self.schema}.{self.name}"


def _places(tables: list[str], using: str) -> dict[str, _Place]:
    """Return where tables are, by name. Tables that the search path doesn't find are left out."""
    with connections[using].cursor() as cursor:
        cursor.execute(TABLES, [tables])
        return {name: _Place(*place) for name, *place in cursor.fetchall()}
