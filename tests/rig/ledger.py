"""
The ledger: a table to which each change of a run is added in its own transaction.

So the database itself records what was committed, and in which order.
"""

from collections.abc import Iterable
from typing import Any

from .history import Committed

CREATE = (
    "CREATE TABLE rig_ledger (id bigserial PRIMARY KEY, streams text[] NOT NULL, content text NOT NULL,"
    " hidden_from text[] NOT NULL,"
    " at timestamptz NOT NULL DEFAULT clock_timestamp())"
)
RECORD = "INSERT INTO rig_ledger (streams, content, hidden_from) VALUES (%s, %s, %s)"
READ = "SELECT content, streams, hidden_from, extract(epoch FROM at)::float FROM rig_ledger ORDER BY id"


def committed(rows: Iterable[tuple[Any, ...]]) -> list[Committed]:
    """Return the ledger's rows as records of the history."""
    return [
        Committed(content=content, streams=tuple(streams), hidden_from=tuple(hidden_from), at=at)
        for content, streams, hidden_from, at in rows
    ]
