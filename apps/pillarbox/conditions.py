"""Conditions on rows of the outbox, each as a filter and as SQL."""

from typing import NamedTuple

from django.db.models import Q


class Condition(NamedTuple):
    """A condition on rows of the outbox, in two forms with the same meaning."""

    #: For query sets, indexes and constraints.
    q: Q
    #: For statements in SQL, with ``{table}`` before each column.
    template: str

    @property
    def sql(self) -> str:
        """The condition in SQL. Its columns have no table name."""
        return self.template.format(table="")

    def sql_of(self, table: str) -> str:
        """Return the condition in SQL, for statements in which its columns are ambiguous without a table."""
        return self.template.format(table=f"{table}.")


#: Rows that are neither published nor failed.
PENDING = Condition(
    q=Q(published_at=None, failed_at=None),
    template="{table}published_at IS NULL AND {table}failed_at IS NULL",
)
#: Rows that have neither a payload nor a reason for having none.
UNRENDERED = Condition(
    q=Q(payload__isnull=True, obsolete_at=None, failed_at=None),
    template="{table}payload IS NULL AND {table}obsolete_at IS NULL AND {table}failed_at IS NULL",
)
#: Pending rows that have an offset: publishers take them.
PUBLISHABLE = Condition(
    q=PENDING.q & Q(offset__isnull=False),
    template=f'{{table}}"offset" IS NOT NULL AND {PENDING.template}',
)
