"""Numbered rows, read as they go to sockets: the payload stays the JSON text that is stored."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db import connections

from .conf import outbox_settings
from .epochs import CLUSTER, epoch_of
from .models import NotificationOutbox, Stream

# A payload is cast once, and one that is not asked for never leaves the database.
READ = f"""
SELECT * FROM (
    SELECT found.*, sum(octet_length(payload)) OVER (ORDER BY "offset", id) AS bytes FROM (
        SELECT id, stream, "offset", event, event_id::text, object_type, object_id,
               to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), attempts, deaths,
               is_skipped, is_pending, is_move,
               CASE WHEN octet_length(text) <= %(longest)s THEN text END AS payload,
               {CLUSTER}, coalesce(known.incarnation::text, '')
        FROM {NotificationOutbox._meta.db_table} AS row
        LEFT JOIN {Stream._meta.db_table} AS known ON name = stream
        CROSS JOIN LATERAL (
            SELECT failed_at IS NOT NULL OR obsolete_at IS NOT NULL,
                published_at IS NULL AND failed_at IS NULL
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
#: More than any payload has bytes, or any row deaths.
UNLIMITED = 2**31 - 1


class Row(NamedTuple):
    """A numbered row. Its ``payload`` is JSON text; None if it is skipped, or was not asked for."""

    pk: int
    stream: str
    offset: int
    event: str
    event_id: str
    object_type: str
    object_id: str
    #: In UTC, as ISO 8601 has it, with milliseconds.
    created_at: str
    attempts: int
    #: Workers that died with it in hand, if it is pending.
    deaths: int
    #: Whether it failed or is obsolete: subscribers see ``skipped``.
    is_skipped: bool
    is_pending: bool
    #: Whether what comes before it in its stream is perhaps not for those who may see it now.
    is_move: bool
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
    Return numbered rows by offset: those for which the SQL ``which``, of ``values``, is true.

    There are ``rows`` of them at most, and as many as ``BATCH_BYTES`` of payload allow; one in any case.
    Payloads longer than ``longest`` bytes are not loaded, nor are those of rows that ``deaths`` workers
    died with.
    """
    limits = {
        "rows": rows,
        "longest": longest,
        "deaths": deaths,
        "bytes": outbox_settings().BATCH_BYTES,
    }
    with connections[using].cursor() as cursor:
        cursor.execute(READ.format(which=which), {**values, **limits})
        found = cursor.fetchall()
    return [
        Row._make((*columns, epoch_of(cluster, incarnation)))
        for *columns, cluster, incarnation, _ in found
    ]
