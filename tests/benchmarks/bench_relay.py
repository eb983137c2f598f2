"""
What the relay does, beside the plain pattern, in one run:

    python -m pytest --no-cov -s tests/benchmarks/bench_relay.py

prints tables in Markdown. PostgreSQL waits for the disk at each commit, as in production. It takes some
fifteen minutes, most of them for five million rows, and for the long run of the last table.
"""

import json
import multiprocessing
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer
from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.utils import timezone

from apps.outbox.capture import Notification, capture
from apps.outbox.claim import claim, load, release, settle
from apps.outbox.models import NotificationOutbox, shard_of
from apps.outbox.retention import prune
from apps.tickets.models import Ticket
from tests.database import alter_system
from tests.processes import Site
from workers import bell
from workers.relay import Relay

pytestmark = pytest.mark.django_db(transaction=True)

USING = DEFAULT_DB_ALIAS
ROWS, STREAMS, TURNS = 10_000, 500, 7
PLAIN_ROWS = 500
SECONDS = 15
OLD_ROWS, CLAIMS = 5_000_000, 320
LONG_RUN_SECONDS, LONG_RUN_RETENTION = 240, 20

OUTBOX = NotificationOutbox._meta.db_table
PAYLOAD = json.dumps({"id": "Uk8wZ", "project": "x5Lk2", "title": "x" * 60, "status": "open"})
FILL = f"""
INSERT INTO {OUTBOX} (stream, shard, "offset", event_id, event, object_type, object_id, payload, claims,
    published_at)
SELECT 'old:' || number %% 5000, number %% 16, number, gen_random_uuid(), 'UPDATE_TICKET', 'ticket', '1',
    '{PAYLOAD}', 1, now() FROM generate_series(1, %s) AS number
"""


#: Ten streams of each shard.
STREAMS_OF: dict[int, list[str]] = defaultdict(list)
for name in map("ticket:{}".format, range(1000)):
    STREAMS_OF[shard_of(name)] = [*STREAMS_OF[shard_of(name)], name][:10]


@pytest.fixture(autouse=True)
def as_in_production(settings: Any) -> Iterator[None]:
    """The bell is rung where somebody listens."""
    settings.OUTBOX = {**settings.OUTBOX, "BELL": ""}
    yield
    bell.clear()


def fill(rows: int) -> None:
    """Commit rows, evenly over the streams."""
    announced = [
        Notification(
            stream=f"ticket:{number % STREAMS}",
            event="UPDATE_TICKET",
            object_type="ticket",
            object_id=str(number % STREAMS),
            payload=PAYLOAD,
        )
        for number in range(rows)
    ]
    capture(announced, using=USING)


def test_rows_per_second() -> None:
    """From committed to published."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(TURNS):
        for processes in (1, 2):
            found[f"ours, {processes} process{'es' * (processes > 1)}"].append(_drained(processes))
        found["plain pattern"].append(_plainly_published())
    plain = statistics.median(found["plain pattern"])
    print(f"\n| {ROWS} rows of {STREAMS} streams, rows/s | median | least | most | relative |")
    print("|---|---|---|---|---|")
    for name, rates in found.items():
        median = statistics.median(rates)
        print(
            f"| {name} | {median:.0f} | {min(rates):.0f} | {max(rates):.0f} | {median / plain:.1f} |"
        )


def _drained(processes: int) -> float:
    fill(ROWS)
    connections.close_all()  # a child would use its parent's
    fork = multiprocessing.get_context("fork")
    ready, done = fork.Barrier(processes + 1), fork.Barrier(processes + 1)
    workers = [fork.Process(target=_drain, args=(ready, done)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    begun = time.perf_counter()
    done.wait()
    seconds = time.perf_counter() - begun
    for worker in workers:
        worker.join()
    assert not NotificationOutbox.objects.pending().exists()
    return ROWS / seconds


def _drain(ready: Any, done: Any) -> None:
    with Relay(using=USING) as relay:
        connection.ensure_connection()
        ready.wait()
        while NotificationOutbox.objects.pending().exists():
            relay.drain()
        done.wait()
    connections.close_all()


def _plainly_published() -> float:
    """As textbooks have it: each row sent by `group_send`, and saved."""
    layer = RedisChannelLayer(hosts=[django_settings.REDIS_URL])
    fill(PLAIN_ROWS)
    begun = time.perf_counter()
    for row in NotificationOutbox.objects.pending().order_by("id"):
        async_to_sync(layer.group_send)(
            row.stream.replace(":", "."), {"type": "notify", "payload": row.payload}
        )
        row.offset, row.published_at = row.pk, timezone.now()
        row.save(update_fields=["offset", "published_at"])
    return PLAIN_ROWS / (time.perf_counter() - begun)


class Listener(threading.Thread):
    """Notes when Redis hands on each envelope of a ticket's own stream."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.heard: dict[str, float] = {}
        self.pubsub = redis.Redis.from_url(django_settings.REDIS_URL).pubsub()
        self.layer: Any = get_channel_layer()
        self.pubsub.psubscribe("asgi*")
        self.ended = False

    def run(self) -> None:
        while not self.ended:
            message = self.pubsub.get_message(timeout=0.1)
            if message and message["type"] == "pmessage":
                envelope = self.layer.deserialize(message["data"])
                if envelope["stream"].startswith("ticket:"):
                    payload = json.loads(envelope["frame"])["payload"]
                    self.heard.setdefault(payload["title"], time.perf_counter())


@pytest.mark.parametrize("rate", [1, 40, 400])
def test_latency(rate: int, settings: Any, ticket: Ticket, tmp_path: Path) -> None:
    """From the commit of a save until Redis has it, through the real processes."""
    settings.OUTBOX = {**settings.OUTBOX, "BELL": "workers.bell.ring"}
    bell.clear()
    listener = Listener()
    listener.start()
    committed: dict[str, float] = {}
    with Site(tmp_path) as site:
        site.start("worker", "beat")
        begun = time.perf_counter()
        for number in range(rate * SECONDS):
            time.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            ticket.title = f"{rate}: {number}"
            ticket.save()
            committed[ticket.title] = time.perf_counter()
        reached = len(committed) / (time.perf_counter() - begun)
        end = time.perf_counter() + 30
        while not committed.keys() <= listener.heard.keys() and time.perf_counter() < end:
            time.sleep(0.05)
    listener.ended = True
    listener.join()
    lags = sorted((listener.heard[title] - at) * 1000 for title, at in committed.items())
    if rate == 1:
        print("\n| saves/s | reached | commit to publish, p50 ms | p99 ms | most |")
        print("|---|---|---|---|---|")
    p50, p99 = statistics.median(lags), lags[int(len(lags) * 0.99)]
    print(f"| {rate} | {reached:.0f} | {p50:.1f} | {p99:.1f} | {lags[-1]:.1f} |")


def test_claim_cost() -> None:
    """What a claim of a hundred rows costs: beside old rows, bad statistics, and a long transaction."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {OUTBOX} SET (autovacuum_enabled = off)")
        cursor.execute(f"VACUUM ANALYZE {OUTBOX}")
    costs = {"no old rows": _claim_cost()}
    with connection.cursor() as cursor:
        cursor.execute(FILL, [OLD_ROWS])
    costs["5 million old rows, statistics of an empty table"] = _claim_cost()
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {OUTBOX}")
    costs["5 million old rows"] = _claim_cost()
    with psycopg.connect(**connection.get_connection_params()) as long:
        long.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        long.execute("SELECT 1")
        for rows in (0, 20_000, 100_000):
            if rows:
                fill(rows)
                with Relay(using=USING) as relay:
                    relay.drain()
            name = f"and a transaction open since {rows} rows ago"
            costs[name] = _claim_cost()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {OUTBOX} RESET (autovacuum_enabled)")
    bare, bare_all = costs["no old rows"]
    print(
        "\n| 100 rows of a shard | number and claim, p50 ms | relative | read and settle as well | relative |"
    )
    print("|---|---|---|---|---|")
    for name, (cost, whole) in costs.items():
        print(f"| {name} | {cost:.2f} | {cost / bare:.2f} | {whole:.2f} | {whole / bare_all:.2f} |")


def _claim_cost() -> tuple[float, float]:
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")  # not while it is measured
    times, whole = [], []
    for number in range(CLAIMS):
        shard = number % 16
        rows = [
            Notification(
                stream=stream, event="X", object_type="ticket", object_id="1", payload=PAYLOAD
            )
            for stream in STREAMS_OF[shard] * 10
        ]
        capture(rows, using=USING)
        begun = time.perf_counter()
        pks = claim(shard, using=USING).rows
        times.append((time.perf_counter() - begun) * 1000)
        found = load(pks, using=USING, longest=1_000_000)
        settle(found, using=USING)
        release(shard, using=USING)
        whole.append((time.perf_counter() - begun) * 1000)
        assert len(rows) == len(found)
    return statistics.median(times), statistics.median(whole)


@pytest.mark.parametrize("vacuum", ["PostgreSQL's own", "ours"])
def test_a_long_run(vacuum: str, settings: Any) -> None:
    """The size of table and indexes while rows come, are published and are pruned, as fast as may be."""
    settings.OUTBOX = {**settings.OUTBOX, "RETENTION_SECONDS": LONG_RUN_RETENTION}
    alter_system("autovacuum_naptime = 5")
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = %s", [OUTBOX])
        (options,) = cursor.fetchone()
        if vacuum != "ours":
            names = ", ".join(option.split("=")[0] for option in options)
            cursor.execute(f"ALTER TABLE {OUTBOX} RESET ({names})")
    sizes, rates, begun = [], [], time.perf_counter()
    with Relay(using=USING) as relay:
        while time.perf_counter() < begun + LONG_RUN_SECONDS:
            turn = time.perf_counter()
            for _ in range(10):
                fill(1000)
                relay.drain()
                prune(using=USING)
            rates.append(10_000 / (time.perf_counter() - turn))
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_total_relation_size(%s) / 1048576.0", [OUTBOX])
                sizes.append(float(cursor.fetchone()[0]))
    with connection.cursor() as cursor:
        if vacuum != "ours":
            cursor.execute(f"ALTER TABLE {OUTBOX} SET ({', '.join(options)})")
    alter_system("autovacuum_naptime = 60")
    if vacuum != "ours":
        print(
            "\n| autovacuum | rows | after a quarter, MiB | half | all | rows/s, first half | second |"
        )
        print("|---|---|---|---|---|---|---|")
    quarter, half = len(sizes) // 4, len(sizes) // 2
    print(
        f"| {vacuum} | {10_000 * len(sizes)} | {sizes[quarter]:.0f} | {sizes[half]:.0f} | {sizes[-1]:.0f}"
        f" | {statistics.median(rates[:half]):.0f} | {statistics.median(rates[half:]):.0f} |"
    )
