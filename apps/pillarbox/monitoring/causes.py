"""Failed rows grouped by cause: the error, how often and when it occurred, and the object types."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from ..models import OUTBOX

FINGERPRINT = re.compile(r"[0-9a-f]{16}")

COLUMNS = (
    "fingerprint",
    "rows",
    "unreplayed",
    "first_at",
    "last_at",
    "object_types",
    "error_type",
    "error_message",
)
# The groups come from the index alone; then one row of each group is read.
CAUSES = f"""
SELECT {", ".join(COLUMNS)}
FROM (
    SELECT error_fingerprint, count(*), count(*) FILTER (WHERE replayed_at IS NULL),
        min(failed_at), max(failed_at), array_agg(DISTINCT object_type ORDER BY object_type)
    FROM {OUTBOX} WHERE failed_at IS NOT NULL AND {{which}} GROUP BY error_fingerprint
) AS causes (fingerprint, rows, unreplayed, first_at, last_at, object_types)
CROSS JOIN LATERAL (
    SELECT error_type, error_message FROM {OUTBOX} AS row
    WHERE row.failed_at IS NOT NULL AND row.error_fingerprint = fingerprint
    ORDER BY row.failed_at DESC LIMIT 1
) AS latest
ORDER BY unreplayed = 0, last_at DESC LIMIT %(most)s
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """A group of failed rows whose errors share a fingerprint."""

    #: 16 hex digits, as `attempts.fingerprint` returns them.
    fingerprint: str
    #: The exception's dotted name, and the message of the row that failed last.
    error_type: str
    error_message: str
    rows: int
    #: Rows that have not been replayed.
    unreplayed: int
    first_at: datetime
    last_at: datetime
    object_types: list[str]

    @property
    def name(self) -> str:
        """The exception's class name and the first line of its message."""
        message = self.error_message.partition("\n")[0]
        return f"{self.error_type.rpartition('.')[2]}: {message}"


def causes(*, using: str, most: int) -> list[Cause]:
    """Return at most ``most`` causes: those with rows to replay first, then by latest failure."""
    return _causes("true", {"most": most}, using)


def cause(fingerprint: str, *, using: str) -> Cause | None:
    """Return the cause with this fingerprint; None if no failed row has it. Any text is accepted."""
    if not FINGERPRINT.fullmatch(fingerprint):
        return None
    values: dict[str, int | str] = {"most": 1, "fingerprint": fingerprint}
    found = _causes("error_fingerprint = %(fingerprint)s", values, using)
    return found[0] if found else None


def _causes(which: str, values: Mapping[str, int | str], using: str) -> list[Cause]:
    with connections[using].cursor() as cursor:
        cursor.execute(CAUSES.format(which=which), values)
        found = cursor.fetchall()
    return [Cause(**dict(zip(COLUMNS, columns, strict=True))) for columns in found]
