"""Ways to write rows for tests of the relay, and to read what was published."""

from itertools import islice

from django.db import DEFAULT_DB_ALIAS, connections

from pillarbox.capture.notification import Notification, capture
from pillarbox.capture.triggers.row_templates import SHARD
from pillarbox.models import NotificationOutbox, shard_of

USING = DEFAULT_DB_ALIAS
BACKLOG = f"""
INSERT INTO {NotificationOutbox._meta.db_table}
    (stream, shard, event_id, event, object_type, object_id, payload)
SELECT stream, {SHARD}, gen_random_uuid(), 'UPDATE_TICKET', 'ticket', '1', %s::jsonb
FROM (SELECT 'ticket:' || mod(number, %s) FROM generate_series(0, %s - 1) AS number) AS many (stream)
"""


def announce(pk=1, count=1, object_type="ticket", payload="{}"):
    """Commit rows of a ticket's stream, each in its own transaction."""
    for _ in range(count):
        row = Notification(
            stream=f"ticket:{pk}",
            event="UPDATE_TICKET",
            object_type=object_type,
            object_id=str(pk),
            payload=payload,
        )
        capture(row, using=USING)


def backlog(rows, *, streams, payload="{}"):
    """Commit many rows at once, spread evenly over the streams."""
    with connections[USING].cursor() as cursor:
        cursor.execute(BACKLOG, [payload, streams, rows])


def of_one_shard(count):
    """Return primary keys of tickets whose streams share the shard of ticket 1."""
    pks = (pk for pk in range(1, 10_000) if shard_of(f"ticket:{pk}") == shard_of("ticket:1"))
    return list(islice(pks, count))


def offsets(sent, pk):
    """Return the offsets that a recording layer received on a ticket's stream, in order."""
    return [message["offset"] for _, message in sent if message["stream"] == f"ticket:{pk}"]
