"""The running processes. Each reports itself every few seconds; a silent one counts as gone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections

from ..models import Process

#: The interval of reports; a process that is silent for longer than `ALIVE_SECONDS` counts as gone.
REPORT_SECONDS, ALIVE_SECONDS = 5.0, 12.0
#: Processes that reported in this time are known, including those that count as gone.
KNOWN_SECONDS = 3600.0

TABLE = Process._meta.db_table

# A report after a silence is a new process with the same id, and starts now. A process that was merely
# stopped reports the same `since`, and keeps its start.
REPORT = f"""
INSERT INTO {TABLE} AS known (name, kind, facts, started_at, seen_at)
VALUES (%(name)s, %(kind)s, %(facts)s::jsonb, statement_timestamp(), statement_timestamp())
ON CONFLICT (name) DO UPDATE SET kind = EXCLUDED.kind, facts = EXCLUDED.facts,
    started_at = CASE
        WHEN known.facts->'since' = EXCLUDED.facts->'since'
            OR known.seen_at > EXCLUDED.seen_at - make_interval(secs => %(alive)s)
        THEN known.started_at ELSE EXCLUDED.started_at
    END,
    seen_at = EXCLUDED.seen_at
"""
WITHDRAW = f"DELETE FROM {TABLE} WHERE name = %s"
KNOWN = f"""
SELECT name, kind, started_at, extract(epoch FROM statement_timestamp() - seen_at)::float, facts
FROM {TABLE} WHERE seen_at > statement_timestamp() - make_interval(secs => %s)
ORDER BY kind, name
"""
FORGET = f"DELETE FROM {TABLE} WHERE seen_at < statement_timestamp() - make_interval(secs => %s)"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessReport:
    """A process that reported itself lately."""

    name: str
    kind: str
    started_at: datetime
    #: The time since its last report, by the database's clock.
    silent_seconds: float
    #: The facts of its last report.
    facts: Mapping[str, Any]

    @property
    def is_alive(self) -> bool:
        """True if its last report is recent."""
        return self.silent_seconds <= ALIVE_SECONDS


def report(name: str, kind: str, facts: Mapping[str, Any], *, using: str) -> None:
    """Record that a process runs, with facts about itself that are stored as JSON."""
    values: dict[str, str | float] = {
        "name": name,
        "kind": kind,
        "facts": json.dumps(facts),
        "alive": ALIVE_SECONDS,
    }
    with connections[using].cursor() as cursor:
        cursor.execute(REPORT, values)


def withdraw(name: str, *, using: str) -> None:
    """Forget a process that ends in an orderly way, so that it doesn't count as gone."""
    with connections[using].cursor() as cursor:
        cursor.execute(WITHDRAW, [name])


def known(*, using: str) -> list[ProcessReport]:
    """Return the processes that reported in the last `KNOWN_SECONDS`, by kind and name."""
    with connections[using].cursor() as cursor:
        cursor.execute(KNOWN, [KNOWN_SECONDS])
        found = cursor.fetchall()
    # Django makes psycopg leave JSON as text, because its own fields parse it.
    return [
        ProcessReport(
            name=name, kind=kind, started_at=started, silent_seconds=silent, facts=json.loads(facts)
        )
        for name, kind, started, silent, facts in found
    ]


def forget(*, using: str) -> int:
    """Delete processes that did not report for `KNOWN_SECONDS`; return how many."""
    with connections[using].cursor() as cursor:
        cursor.execute(FORGET, [KNOWN_SECONDS])
        return int(cursor.rowcount)
