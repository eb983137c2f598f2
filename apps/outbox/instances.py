"""Which processes run, by their own account: each reports itself, and one that falls silent is gone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections

from .models import Instance

#: An instance reports so often; unheard of for longer than `ALIVE_SECONDS`, it counts as gone.
REPORT_SECONDS, ALIVE_SECONDS = 5.0, 12.0
#: Instances that were heard of in this time are known, the gone ones too.
KNOWN_SECONDS = 3600.0

TABLE = Instance._meta.db_table

# A process id that is used again is another instance: the one before has been silent for a while. A process
# that was stopped was silent too, but it reports the same start.
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
class Known:
    """An instance that was heard of lately."""

    name: str
    kind: str
    started_at: datetime
    #: How long ago it reported itself, by the database's clock.
    silent_seconds: float
    #: What it said of itself then.
    facts: Mapping[str, Any]

    @property
    def is_alive(self) -> bool:
        """Whether it reported itself when it should have."""
        return self.silent_seconds <= ALIVE_SECONDS


def report(name: str, kind: str, facts: Mapping[str, Any], *, using: str) -> None:
    """Record that an instance runs, and what it says of itself: JSON."""
    values: dict[str, str | float] = {
        "name": name,
        "kind": kind,
        "facts": json.dumps(facts),
        "alive": ALIVE_SECONDS,
    }
    with connections[using].cursor() as cursor:
        cursor.execute(REPORT, values)


def withdraw(name: str, *, using: str) -> None:
    """Record that an instance ended as it should: it is not known any more."""
    with connections[using].cursor() as cursor:
        cursor.execute(WITHDRAW, [name])


def known(*, using: str) -> list[Known]:
    """Return the instances that were heard of in the last `KNOWN_SECONDS`, by kind and name."""
    with connections[using].cursor() as cursor:
        cursor.execute(KNOWN, [KNOWN_SECONDS])
        found = cursor.fetchall()
    # Django has psycopg leave JSON as text, for its own fields to parse.
    return [
        Known(
            name=name, kind=kind, started_at=started, silent_seconds=silent, facts=json.loads(facts)
        )
        for name, kind, started, silent, facts in found
    ]


def forget(*, using: str) -> int:
    """Delete what was not heard of for `KNOWN_SECONDS`; return how many instances that were."""
    with connections[using].cursor() as cursor:
        cursor.execute(FORGET, [KNOWN_SECONDS])
        return int(cursor.rowcount)
