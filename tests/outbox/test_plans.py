"""The relay's queries go through the small indexes, whatever PostgreSQL believes about the table."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from apps.outbox import (
    backlog,
    causes,
    claim,
    history,
    minutes,
    numbering,
    replay,
    retention,
    rows,
    unrendered,
    verdicts,
)
from apps.outbox.models import NotificationOutbox
from workers.doctor import outbox as doctor

pytestmark = pytest.mark.django_db
OUTBOX = NotificationOutbox._meta.db_table

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
#: Each query, its values, and the indexes through which it goes.
QUERIES = {
    "render: where": (unrendered.WAITING, [["ticket"]], {"outbox_unrendered"}),
    "render: untried": (unrendered.UNTRIED, RENDER, {"outbox_unrendered"}),
    "render: tried": (unrendered.TRIED, RENDER, {"outbox_unrendered"}),
    "number: what is fresh": (
        numbering.FRESH,
        {"shard": 3, "limit": 1000},
        {"outbox_unnumbered", "outbox_unrendered"},
    ),
    "number: place": (numbering.PLACE, {"rows": PKS, "offsets": PKS}, {KEY}),
    "number: recover": (numbering.RECOVER, [["ticket:1", "ticket:2"]], {"outbox_position"}),
    "work": (claim.WORK, None, {"outbox_unnumbered", "outbox_untried", "outbox_tried"}),
    "claim: untried": (
        claim.UNTRIED,
        {"shard": 3, "limit": 1000},
        {"outbox_untried", "outbox_tried"},
    ),
    "claim: tried": (claim.TRIED, {"shard": 3, "limit": 1000}, {"outbox_tried"}),
    "claim: left in hand": (claim.LEFT, [3], {KEY}),
    "claim: held": (rows.READ.format(which=claim.HELD), {"pks": PKS, **LIMITS}, {KEY}),
    "settle": (claim.SETTLE, [PKS], {KEY}),
    "catch up": (
        rows.READ.format(which=history.AFTER),
        {"stream": "ticket:1", "after": 9000, **LIMITS},
        {"outbox_position"},
    ),
    "backlog: what waits": (
        backlog.WAITING,
        {"most": 1000},
        {"outbox_unnumbered", "outbox_untried", "outbox_tried"},
    ),
    "backlog: what failed": (backlog.FAILED, None, {"outbox_cause"}),
    "causes": (causes.CAUSES.format(which="true"), {"most": 10}, {"outbox_cause"}),
    "count": (
        minutes.COUNT,
        {"starts_at": MOMENT, "ends_at": MOMENT + timedelta(minutes=1)},
        {KEY, "outbox_published", "outbox_cause"},
    ),
    "rates": (minutes.RATES, {"seconds": 10, "most": 1000}, {KEY, "outbox_published"}),
    "doctor: what kills workers": (doctor.DEADLY_ROWS, [4], {"outbox_tried"}),
    "doctor: how long rows are kept": (doctor.OLDEST, None, {"outbox_published"}),
    "replay: the next rows": (*NEXT.query.sql_with_params(), {"outbox_replayable"}),
    "replay: what they are": (verdicts.CANDIDATES, [3600, PKS], {KEY}),
    "replay: what is newer": (
        verdicts.NEWER,
        {"pks": PKS, "streams": ["ticket:1", "ticket:2"]},
        {KEY, "outbox_position", "outbox_unnumbered"},
    ),
    "replay: what moved": (verdicts.MOVES, [PKS, PKS, ["ticket:1"] * 1000], {"outbox_moves"}),
    "replay: announce": (
        replay.ANNOUNCE,
        {
            "pks": PKS,
            "events": [None] * 1000,
            "payloads": [None] * 1000,
            "resend": None,
            "by": None,
        },
        {KEY},
    ),
    "prune: what is old": (retention.OLD, [3600, 1000], {"outbox_published"}),
    "prune: forget replays": (retention.FORGET, [PKS], {"outbox_replayed_as"}),
}


@pytest.fixture(scope="module", params=["fresh statistics", "statistics of an empty table"])
def table(request, django_db_setup, django_db_blocker):
    """A table with many old rows and a few new ones, of which PostgreSQL knows, or doesn't."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {OUTBOX}")
        cursor.execute(f"ALTER TABLE {OUTBOX} SET (autovacuum_enabled = off)")
        cursor.execute(f"VACUUM ANALYZE {OUTBOX}")
        cursor.execute(FILL, [OLD_ROWS])
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
    However many old rows there are, a claim looks at those that are pending, and at no others.
    """
    sql, values, indexes = QUERIES[query]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", values)
        ((plan,),) = cursor.fetchone()
    found = set(scans(plan["Plan"]))
    assert indexes == {index for _, index in found if index}, found
    assert not [kind for kind, _ in found if kind == "Seq Scan"]


def scans(node):
    """Yield each scan of the outbox's rows in a plan: its type, and the index it goes by, if any."""
    kind, index = node["Node Type"], node.get("Index Name")
    ours = node.get("Relation Name") == OUTBOX or index in {KEY, *INDEXES}
    if "Scan" in kind and ours:
        yield kind, index
    for child in node.get("Plans", []):
        yield from scans(child)
