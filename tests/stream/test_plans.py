"""The relay's queries use the small indexes, with any statistics of the table."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from pillarbox.models import OUTBOX, NotificationOutbox
from pillarbox.monitoring import backlog, causes, minute_counts
from pillarbox.monitoring.doctor import outbox as doctor
from pillarbox.relay import claim, claimed_rows, dead_workers, shards_with_work
from pillarbox.replay import announcement, candidates, later_rows, replay
from pillarbox.stream import ends_of_rights, history, last_ends, numbering, retention, rows
from pillarbox.stream.rendering.batches import due_shards, settling, taking

pytestmark = pytest.mark.django_db

INDEXES = [
    *(index.name for index in NotificationOutbox._meta.indexes),
    *(constraint.name for constraint in NotificationOutbox._meta.constraints),
]

OLD_ROWS = 100_000
FILL = f"""
INSERT INTO {OUTBOX} (stream, shard, "offset", event_id, event, object_type, object_id, payload, claims,
    created_at, published_at)
SELECT 'ticket:' || number %% 500, number %% 16, number, gen_random_uuid(), 'UPDATE_TICKET', 'ticket', '1',
    '{{"title": "as long as a title is"}}', 1, now(), now() - number * interval '1 second'
FROM generate_series(1, %s) AS number
"""
NEW = f"""
INSERT INTO {OUTBOX} (stream, shard, "offset", event_id, event, object_type, object_id, payload, claims)
SELECT 'project:' || number, 3, CASE WHEN number > 20 THEN number END, gen_random_uuid(), 'UPDATE_TICKET',
    'ticket', '1', '{{}}', CASE WHEN number > 40 THEN 1 ELSE 0 END
FROM generate_series(1, 60) AS number
"""
ENDS = f"""
INSERT INTO {OUTBOX} (stream, shard, "offset", event_id, event, object_type, object_id, payload, claims,
    published_at)
SELECT 'rights', 16, number, gen_random_uuid(), 'DELETE_RIGHTS', 'rights', number %% 1000, '{{}}', 1,
    now() - number * interval '1 second'
FROM generate_series(1, %s) AS number
"""
LIMITS = {"rows": 1000, "longest": 1000, "deaths": 4, "bytes": 1000}
PKS = list(range(1, 1001))
RENDER = {"shard": 3, "limit": 1000, "types": ["ticket"]}
KEY = f"{OUTBOX}_pkey"
MOMENT = datetime.now(UTC) - timedelta(minutes=5)
NEXT = (
    NotificationOutbox.objects.failed()
    .filter(replayed_at=None, pk__gt=1, pk__lte=OLD_ROWS)
    .order_by("pk")
    .values_list("pk", flat=True)[: replay.BATCH]
)
RETRYING = NotificationOutbox.objects.retrying().order_by("-id")
#: Each query, its values, and the indexes through which it goes.
QUERIES = {
    "render: where": (due_shards.WAITING, [["ticket"]], {"pillarbox_unrendered"}),
    "render: untried": (
        taking.UNTRIED,
        RENDER,
        {"pillarbox_unrendered", "pillarbox_unrenderable"},
    ),
    "render: take": (
        taking.TAKE,
        {**RENDER, "bytes": 1000},
        {KEY, "pillarbox_unrendered", "pillarbox_unrenderable"},
    ),
    "render: free": (
        settling.FREE,
        {"shard": 3, "pks": PKS},
        {"pillarbox_unrendered", "pillarbox_rendered", "pillarbox_unrenderable"},
    ),
    "render: tried": (taking.TRIED, RENDER, {"pillarbox_unrenderable"}),
    "number: what is fresh": (
        numbering.FRESH,
        {"shard": 3, "limit": 1000},
        {"pillarbox_rendered", "pillarbox_unrendered"},
    ),
    "number: place": (numbering.PLACE, {"rows": PKS, "offsets": PKS, "stamp": 1}, {KEY}),
    "number: recover": (numbering.RECOVER, [["ticket:1", "ticket:2"]], {"pillarbox_position"}),
    "work": (
        shards_with_work.WORK,
        None,
        {"pillarbox_rendered", "pillarbox_untried", "pillarbox_tried"},
    ),
    "claim: untried": (
        claim.UNTRIED,
        {"shard": 3, "limit": 1000},
        {"pillarbox_untried", "pillarbox_tried"},
    ),
    "claim: tried": (claim.TRIED, {"shard": 3, "limit": 1000}, {"pillarbox_tried"}),
    "claim: abandoned": (dead_workers.ABANDONED, [3], {KEY}),
    "claim: claimed": (rows.READ.format(which=claimed_rows.CLAIMED), {"pks": PKS, **LIMITS}, {KEY}),
    "settle": (claimed_rows.SETTLE, [PKS], {KEY}),
    "catch up": (
        rows.READ.format(which=history.AFTER),
        {"stream": "ticket:1", "after": 9000, **LIMITS},
        {"pillarbox_position"},
    ),
    "rights: what is new": (ends_of_rights.BETWEEN, [3, 9], {"pillarbox_position"}),
    "rights: the last ends": (
        last_ends.LAST,
        {"user": "1", "types": ["rights", "project"], "names": ["project"], "keys": ["1"]},
        {"pillarbox_rights"},
    ),
    "rights: what is older": (
        history.COMMITTED,
        {"stream": "ticket:1", "after": 9000, "snapshot": "10:10:", "at": MOMENT},
        {"pillarbox_position"},
    ),
    "backlog: what waits": (
        backlog.WAITING,
        {"most": 1000, "types": ["ticket"]},
        {"pillarbox_unnumbered", "pillarbox_unrendered", "pillarbox_untried", "pillarbox_tried"},
    ),
    "admin: retrying rows": (
        *RETRYING.query.sql_with_params(),
        {"pillarbox_unrendered", "pillarbox_tried"},
    ),
    "backlog: unknown types": (
        backlog.UNKNOWN,
        {"most": 1000, "types": ["ticket"]},
        {"pillarbox_unrendered"},
    ),
    "prune: of a removed type": (
        *retention.waiting("gone", using="default").query.sql_with_params(),
        {"pillarbox_unrendered"},
    ),
    "backlog: what failed": (backlog.FAILED, None, {"pillarbox_cause"}),
    "causes": (causes.CAUSES.format(which="true"), {"most": 10}, {"pillarbox_cause"}),
    "count": (
        minute_counts.COUNT,
        {"starts_at": MOMENT, "ends_at": MOMENT + timedelta(minutes=1)},
        {KEY, "pillarbox_published", "pillarbox_cause"},
    ),
    "rates": (minute_counts.RATES, {"seconds": 10, "most": 1000}, {KEY, "pillarbox_published"}),
    "doctor: what kills workers": (
        doctor.DEADLY_ROWS,
        [4],
        {"pillarbox_unrendered", "pillarbox_tried"},
    ),
    "doctor: how long rows are kept": (doctor.OLDEST, None, {"pillarbox_published"}),
    "replay: the next rows": (*NEXT.query.sql_with_params(), {"pillarbox_replayable"}),
    "replay: what they are": (candidates.CANDIDATES, [3600, PKS], {KEY}),
    "replay: what is newer": (
        later_rows.NEWER,
        {"pks": PKS, "streams": ["ticket:1", "ticket:2"]},
        {KEY, "pillarbox_position", "pillarbox_unnumbered"},
    ),
    "replay: what moved": (later_rows.MOVES, [PKS, PKS, ["ticket:1"] * 1000], {"pillarbox_moves"}),
    "replay: announce": (
        announcement.ANNOUNCE,
        {
            "pks": PKS,
            "events": [None] * 1000,
            "payloads": [None] * 1000,
            "resend": None,
            "by": None,
        },
        {KEY},
    ),
    "prune: what is old": (retention.OLD, [3600, 1000], {"pillarbox_published"}),
    "prune: forget replays": (retention.FORGET, [PKS], {"pillarbox_replayed_as"}),
}


@pytest.fixture(scope="module", params=["fresh statistics", "statistics of an empty table"])
def table(request, django_db_setup, django_db_blocker):
    """Fill the table with many old rows and a few new ones, with or without statistics."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {OUTBOX}")
        cursor.execute(f"ALTER TABLE {OUTBOX} SET (autovacuum_enabled = off)")
        cursor.execute(f"VACUUM ANALYZE {OUTBOX}")
        cursor.execute(FILL, [OLD_ROWS])
        cursor.execute(ENDS, [OLD_ROWS // 5])
        cursor.execute(NEW)
        if request.param == "fresh statistics":
            cursor.execute(f"VACUUM ANALYZE {OUTBOX}")
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {OUTBOX} RESET (autovacuum_enabled)")
        cursor.execute(f"TRUNCATE {OUTBOX}")


@pytest.mark.parametrize("query", QUERIES)
def test_each_query_goes_by_its_indexes(table, query):
    """
    Queries read pending rows only, however many old rows there are.
    """
    sql, values, indexes = QUERIES[query]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", values)
        ((plan,),) = cursor.fetchone()
    found = set(scans(plan["Plan"]))
    assert indexes == {index for _, index in found if index}, found
    assert not [kind for kind, _ in found if kind == "Seq Scan"]


def scans(node):
    """Yield each scan of the outbox in a plan: its type, and its index, if any."""
    kind, index = node["Node Type"], node.get("Index Name")
    ours = node.get("Relation Name") == OUTBOX or index in {KEY, *INDEXES}
    if "Scan" in kind and ours:
        yield kind, index
    for child in node.get("Plans", []):
        yield from scans(child)
