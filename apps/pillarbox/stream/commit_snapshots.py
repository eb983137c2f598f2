"""Snapshots of the committed transactions, as PostgreSQL describes them."""

from dataclasses import dataclass, field
from typing import Self

from django.db import connections

SNAPSHOT = """
SELECT pg_current_snapshot()::text,
    to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
"""


@dataclass(frozen=True, slots=True)
class CommitSnapshot:
    """The transactions that were committed at one moment."""

    #: ``xmin:xmax:running``, as PostgreSQL writes it. Transactions below xmin had ended, those from xmax on
    #: had not, and ``running`` lists those in between that had not.
    text: str
    #: The moment, in the format of `Row.created_at`.
    at: str
    #: The parsed text. It is parsed once, since each notification may be compared with it.
    _parts: tuple[int, int, frozenset[int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        xmin, xmax, running = self.text.split(":")
        parts = int(xmin), int(xmax), frozenset(map(int, filter(None, running.split(","))))
        object.__setattr__(self, "_parts", parts)

    @classmethod
    def now(cls, *, using: str) -> Self:
        """Take a snapshot in a new statement, so that it includes all that earlier statements have read."""
        with connections[using].cursor() as cursor:
            cursor.execute(SNAPSHOT)
            return cls(*cursor.fetchone())

    def includes(self, transaction: int | None, created_at: str) -> bool:
        """
        Return whether a row was committed, or may have been committed, in this snapshot.

        A row that no trigger wrote has no transaction id. It counts if its transaction had begun by then.
        """
        if transaction is None:
            return created_at <= self.at
        xmin, xmax, running = self._parts
        return transaction < xmin or (transaction < xmax and transaction not in running)
