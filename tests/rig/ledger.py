"""
The ledger: a table into which each change of a run is written by the change's own transaction.

So the database itself knows what was committed, and in which order. Its clock is this machine's.
"""

from collections.abc import Iterable
from typing import Any

from .history import Committed

CREATE = (
    "CREATE TABLE rig_ledger (id bigserial PRIMARY KEY, streams text[] NOT NULL, content text NOT NULL,"
    " at timestamptz NOT NULL DEFAULT clock_timestamp())"
)
RECORD = "INSERT INTO rig_ledger (streams, content) VALUES (%s, %s)"
READ = "SELECT content, streams, extract(epoch FROM at)::float FROM rig_ledger ORDER BY id"


def committed(rows: Iterable[tuple[Any, ...]]) -> list[Committed]:
    """Return the records of rows that were read."""
    return [
        Committed(content=content, streams=tuple(streams), at=at) for content, streams, at in rows
    ]
