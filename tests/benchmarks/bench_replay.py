"""The time and memory of a replay of 100 000 rows, of many streams and of one."""

import resource
import time

import pytest
from django.db import DEFAULT_DB_ALIAS, connection

from apps.tickets.models import Ticket
from pillarbox.capture.muting import muted
from pillarbox.models import NotificationOutbox
from pillarbox.replay.criteria import Criteria
from pillarbox.replay.decisions import decide, last_pk
from pillarbox.replay.replay import BATCH, carry_out

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 100_000
FILL = f"""
INSERT INTO {NotificationOutbox._meta.db_table} (stream, shard, "offset", event_id, event, object_type,
    object_id, payload, claims, attempts, failed_at, error_type, error_message, error_fingerprint)
SELECT CASE WHEN %(streams)s = 1 THEN 'project.tickets:' || %(project)s ELSE 'ticket:' || id END, 3,
    CASE WHEN %(streams)s = 1 THEN row_number() OVER () ELSE round END, gen_random_uuid(), 'UPDATE_TICKET',
    'ticket', id::text, '{{"title": "as long as a title is", "status": "open"}}', 1, 1, now(), 'E', 'no', 'f'
FROM generate_series(1, 10) AS round, tickets_ticket
"""


@pytest.mark.parametrize("is_current", [False, True], ids=["as recorded", "current state"])
@pytest.mark.parametrize("streams", [ROWS // 10, 1])
def test_replay(admin, project, streams, is_current):
    """Print the time and memory of a replay of failed rows."""
    with muted():
        tickets = (Ticket(project=project, title=str(n)) for n in range(ROWS // 10))
        Ticket.objects.bulk_create(tickets)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {NotificationOutbox._meta.db_table}")
        cursor.execute(FILL, {"streams": streams, "project": project.pk})
        cursor.execute("ANALYZE")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    replay = decide(
        Criteria.parse({"cause": "f"}),
        by=admin,
        reason="fixed",
        last=last_pk(using=DEFAULT_DB_ALIAS),
        is_current=is_current,
        using=DEFAULT_DB_ALIAS,
    )
    decided = time.monotonic()
    carry_out(replay.pk, using=DEFAULT_DB_ALIAS)
    ended = time.monotonic()
    replay.refresh_from_db()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (ROWS, 0) == (replay.examined, replay.refused), replay.refusals
    print(
        f"\n{streams} streams, {'current' if is_current else 'recorded'}: decided in"
        f" {decided - begun:.2f} s, carried out in {ended - decided:.1f} s,"
        f" {(ended - decided) * 1000 * BATCH / ROWS:.0f} ms a batch;"
        f" peak {after // 1024} MiB, {(after - before) // 1024} MiB more than before"
    )
