"""
The size of kept rows, and the cost of reading and deleting them, as their number grows:

    python -m pytest -s tests/benchmarks/bench_history.py

prints tables in Markdown. The run takes some ten minutes, most of them for inserting the rows.
"""

import json
import random
import statistics
import time
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connection

from apps.tickets.models import Ticket
from pillarbox.models import OUTBOX, STREAMS, NotificationOutbox, Stream
from pillarbox.relay.relay import Relay
from pillarbox.stream.history import after, stream_states
from pillarbox.stream.retention import prune
from tests.benchmarks.tables import header, row

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS
KEPT = (1_000_000, 4_000_000, 10_000_000)
#: Rows of each stream; rows of a page; pages and states that are read; rows that are pruned.
PER_STREAM, PAGE, READS, PRUNED = 1000, 100, 500, 50_000
CHANGES = 2000
PAYLOAD = {"id": "Uk8wZ", "project": "x5Lk2", "title": "x" * 60, "status": "open"}
FILL = f"""
INSERT INTO {OUTBOX} (stream, shard, "offset", event_id, event, object_type, object_id, payload, claims,
    published_at)
SELECT 'ticket:' || number / {PER_STREAM}, number / {PER_STREAM} %% 16, number %% {PER_STREAM} + 1,
    gen_random_uuid(), 'UPDATE_TICKET', 'ticket', '1', '{json.dumps(PAYLOAD)}', 1,
    now() - CASE WHEN number <= {PRUNED} THEN interval '1 year' ELSE interval '0' END
FROM generate_series(%s, %s) AS number
"""
#: The streams of the rows, with their heads.
FILL_STREAMS = f"""
INSERT INTO {STREAMS} (name, shard, head)
SELECT stream, shard, max("offset") FROM {OUTBOX} GROUP BY 1, 2 ON CONFLICT (name) DO NOTHING
"""
SIZES = f"SELECT pg_table_size('{OUTBOX}'), pg_indexes_size('{OUTBOX}')"


def execute(sql: str, *values: Any) -> Any:
    """Execute a statement; return its first row, if it has any."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchone() if cursor.description else None


def test_history(settings: Any) -> None:
    """Print what kept rows take, and what it costs to read a page of a stream and to prune."""
    settings.PILLARBOX = {**settings.PILLARBOX, "WAKE_UP": ""}
    header(
        "kept rows",
        "table, bytes a row",
        "indexes",
        "a page of 100, p50 ms",
        "a stream's state, p50 ms",
        "heads of 1000 streams, p50 ms",
        "rows/s pruned",
    )
    filled = 0
    for rows in KEPT:
        execute(FILL, filled + 1, rows)
        filled = rows
        execute(FILL_STREAMS)
        execute(f"VACUUM ANALYZE {OUTBOX}, {STREAMS}")
        table, indexes = execute(SIZES)
        page, state = _read(rows)
        heads = _heads()
        speed = _prune() if rows == KEPT[-1] else 0
        row(
            f"{rows:,}".replace(",", " "),
            round(table / rows),
            round(indexes / rows),
            f"{page:.2f}",
            f"{state:.2f}",
            f"{heads:.1f}",
            f"{speed:.0f}" if speed else "",
        )


def _read(rows: int) -> tuple[float, float]:
    chance, pages, states = random.Random(1), [], []
    for _ in range(READS):
        stream = f"ticket:{chance.randrange(rows // PER_STREAM)}"
        begun = time.perf_counter()
        after(stream, PER_STREAM - PAGE, PAGE, using=USING)
        pages.append((time.perf_counter() - begun) * 1000)
        begun = time.perf_counter()
        stream_states({stream: PER_STREAM - PAGE}, using=USING)
        states.append((time.perf_counter() - begun) * 1000)
    return statistics.median(pages), statistics.median(states)


def _heads() -> float:
    """Return the time of a position check's query."""
    names = list(Stream.objects.values_list("name", flat=True)[:1000])
    times = []
    for _ in range(READS // 10):
        begun = time.perf_counter()
        stream_states(dict.fromkeys(names), using=USING)
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def _prune() -> float:
    begun = time.perf_counter()
    assert prune(using=USING).rows == PRUNED
    return PRUNED / (time.perf_counter() - begun)


def test_log(settings: Any, ticket: Ticket) -> None:
    """Print how much a change writes to the write-ahead log: by itself, with its rows, and when published."""
    settings.PILLARBOX = {**settings.PILLARBOX, "WAKE_UP": ""}
    execute(f"TRUNCATE {OUTBOX} CASCADE")
    execute("CHECKPOINT")
    execute("ALTER TABLE tickets_ticket DISABLE TRIGGER USER")
    bare = _written(lambda: _change(ticket))
    execute("ALTER TABLE tickets_ticket ENABLE TRIGGER USER")
    execute("CHECKPOINT")
    _change(ticket)  # the first change of each page after a checkpoint writes the whole page
    captured = _written(lambda: _change(ticket))
    with Relay(using=USING) as relay:
        published = _written(relay.drain)
    rows = NotificationOutbox.objects.count() / 2
    header("write-ahead log of a change with two rows", "bytes")
    row("the change itself", round(bare / CHANGES))
    row("with the captured rows", round(captured / CHANGES))
    row("rendered, numbered, published", round(published / rows))


def _change(ticket: Ticket) -> None:
    for number in range(CHANGES):
        Ticket.objects.filter(pk=ticket.pk).update(title=f"{number}: {'x' * 60}")


def _written(work: Any) -> float:
    (before,) = execute("SELECT pg_current_wal_insert_lsn()")
    work()
    (written,) = execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before)
    return float(written)
