"""Numbered rows as they are sent to sockets: the payload stays the stored JSON text."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db import connections

from ..conditions import PENDING
from ..conf import pillarbox_settings
from ..models import OUTBOX, STREAMS
from .epochs import CLUSTER, epoch_of

# Each payload is cast only once, and a payload that isn't wanted never leaves the database.
READ = f"""
SELECT * FROM (
    SELECT found.*, sum(octet_length(payload)) OVER (ORDER BY "offset", id) AS bytes FROM (
        SELECT id, stream, "offset", event, event_id::text, object_type, object_id,
               to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), attempts, deaths,
               is_skipped, is_pending, is_move, stamp, transaction,
               CASE WHEN octet_length(text) <= %(longest)s THEN text END AS payload,
               {CLUSTER}, coalesce(known.incarnation::text, '')
        FROM {OUTBOX} AS row
        LEFT JOIN {STREAMS} AS known ON name = stream
        CROSS JOIN LATERAL (
            SELECT failed_at IS NOT NULL OR obsolete_at IS NOT NULL,
                {PENDING.sql}
        ) AS facts (is_skipped, is_pending)
        CROSS JOIN LATERAL (
            SELECT CASE WHEN is_pending THEN claims - attempts ELSE 0 END
        ) AS counted (deaths)
        LEFT JOIN LATERAL (SELECT payload::text OFFSET 0) AS loaded (text)
            ON NOT is_skipped AND deaths < %(deaths)s
        WHERE {{which}} ORDER BY "offset", id LIMIT %(rows)s
    ) AS found
) AS summed WHERE coalesce(bytes, 0) - coalesce(octet_length(payload), 0) < %(bytes)s
"""
#: Larger than any number of bytes, rows or deaths.
UNLIMITED = 2**31 - 1


class Row(NamedTuple):
    """A numbered row. Its ``payload`` is JSON text, or None if the row is skipped or it wasn't loaded."""

    pk: int
    stream: str
    offset: int
    event: str
    event_id: str
    object_type: str
    object_id: str
    #: ISO 8601 in UTC with milliseconds.
    created_at: str
    attempts: int
    #: For pending rows: the number of workers that died while they had claimed it.
    deaths: int
    #: True if it is failed or obsolete. Subscribers see ``skipped``.
    is_skipped: bool
    is_pending: bool
    #: True if this change moved the object or changed who may see it; catch-up never crosses it.
    is_move: bool
    #: The last end of a right that may have been committed before the row or with it.
    stamp: int
    #: The transaction whose trigger wrote the row; None if the row was captured otherwise.
    transaction: int | None
    payload: str | None
    epoch: str


def read(
    which: str,
    values: Mapping[str, Any],
    *,
    using: str,
    rows: int = UNLIMITED,
    longest: int = UNLIMITED,
    deaths: int = UNLIMITED,
) -> list[Row]:
    """
    Return the numbered rows that match the SQL condition ``which`` with ``values``, by offset.

    There are at most ``rows`` rows, and as many as ``BATCH_BYTES`` of payload allow, but at least one.
    Payloads longer than ``longest`` bytes aren't loaded, nor those of rows with ``deaths`` deaths or more.
    """
    limits = {
        "rows": rows,
        "longest": longest,
        "deaths": deaths,
        "bytes": pillarbox_settings().BATCH_BYTES,
    }
    with connections[using].cursor() as cursor:
        cursor.execute(READ.format(which=which), {**values, **limits})
        found = cursor.fetchall()
    return [
        Row._make((*columns, epoch_of(cluster, incarnation)))
        for *columns, cluster, incarnation, _ in found
    ]
