"""
The speed and cost of the relay, compared with a textbook outbox in the same run:

    python -m pytest -s tests/benchmarks/bench_relay.py

prints tables in Markdown. PostgreSQL waits for the disk at each commit, as in production. CPU is that of the
worker and of its backend of PostgreSQL. On a shared machine it's more reliable than wall-clock time. The run
takes about fifteen minutes, most of them for five million rows and for the long run of the last table.
"""

import json
import multiprocessing
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer
from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.utils import timezone

from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import TicketSerializer
from pillarbox.models import OUTBOX, NotificationOutbox, shard_of
from pillarbox.relay import celery_wake_ups
from pillarbox.relay.claim import claim
from pillarbox.relay.claimed_rows import load, release, settle
from pillarbox.relay.relay import Relay
from pillarbox.stream.retention import prune
from tests.database import alter_system
from tests.processes import Site

from .tables import header, row

pytestmark = pytest.mark.django_db(transaction=True)

USING = DEFAULT_DB_ALIAS
ROWS, STREAMS, TURNS = 10_000, 500, 5
TEXTBOOK_ROWS = 500
#: The number of tickets, each announced on two streams, and the number of changes of each.
TICKETS, CHANGES = 250, 20
TEXTBOOK = "textbook outbox"
SECONDS = 15
OLD_ROWS, CLAIMS = 5_000_000, 320
LONG_RUN_SECONDS, LONG_RUN_RETENTION = 240, 20

TICKS = os.sysconf("SC_CLK_TCK")
PAYLOAD = {"id": "Uk8wZ", "project": "x5Lk2", "title": "x" * 60, "status": "open"}
FILL = f"""
INSERT INTO {OUTBOX} (stream, shard, "offset", event_id, event, object_type, object_id, payload, claims,
    published_at)
SELECT 'old:' || number %% 5000, number %% 16, number, gen_random_uuid(), 'UPDATE_TICKET', 'ticket', '1',
    '{json.dumps(PAYLOAD)}', 1, now() FROM generate_series(1, %s) AS number
"""


#: Ten names of streams for each shard.
STREAMS_OF: dict[int, list[str]] = defaultdict(list)
for name in map("ticket:{}".format, range(1000)):
    STREAMS_OF[shard_of(name)] = [*STREAMS_OF[shard_of(name)], name][:10]


@pytest.fixture(autouse=True)
def no_wake_ups(settings: Any) -> Iterator[None]:
    """Request no wake-ups, except in tests that run a worker."""
    settings.PILLARBOX = {**settings.PILLARBOX, "WAKE_UP": ""}
    yield
    celery_wake_ups.clear_request()


def announce(streams: Iterable[str]) -> None:
    """Commit a row with a payload on each of these streams."""
    NotificationOutbox.objects.bulk_create(
        NotificationOutbox(
            stream=stream,
            shard=shard_of(stream),
            event="UPDATE_TICKET",
            object_type="ticket",
            object_id="1",
            payload=PAYLOAD,
        )
        for stream in streams
    )


def fill(rows: int) -> None:
    """Commit rows, spread evenly over the streams."""
    announce(f"ticket:{number % STREAMS}" for number in range(rows))


def change_tickets() -> None:
    """Commit the same number of rows by changing tickets. The relay has to render these rows."""
    for number in range(CHANGES):
        Ticket.objects.update(title=f"{number}: {'x' * 60}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """The speed and cost of publishing rows."""

    rows_per_second: float
    #: Microseconds of CPU for each row, in the publishing processes and in their backends.
    client: float
    server: float


def test_rows_per_second(project: Project) -> None:
    """Measure the rows per second that are published from a full outbox."""
    tickets = (Ticket(project=project, title=str(number)) for number in range(TICKETS))
    Ticket.objects.bulk_create(tickets)
    _empty_outbox()
    assert ROWS == 2 * TICKETS * CHANGES
    found: dict[str, list[Speed]] = defaultdict(list)
    for _ in range(TURNS):
        for processes in (1, 2):
            name = f"{processes} process{'es' * (processes > 1)}"
            found[f"captured and rendered, {name}"].append(
                _drain_in_processes(processes, change_tickets)
            )
            found[f"with payload, {name}"].append(
                _drain_in_processes(processes, lambda: fill(ROWS))
            )
        _empty_outbox()  # the textbook outbox also scans the rows that it has sent
        change_tickets()
        found[TEXTBOOK].append(_measure(TEXTBOOK_ROWS, textbook_relay))
        _empty_outbox()
    columns = ["median", "least", "most", "relative", "CPU µs a row: client", "server", "both"]
    header(f"{ROWS} rows of {STREAMS} streams, rows/s", *columns, "relative")
    rate, cost = _medians(found[TEXTBOOK])
    for name, speeds in found.items():
        rates = [speed.rows_per_second for speed in speeds]
        median, both = _medians(speeds)
        cells = [f"{median:.0f}", f"{min(rates):.0f}", f"{max(rates):.0f}", f"{median / rate:.1f}"]
        parts = (
            statistics.mean(s.client for s in speeds),
            statistics.mean(s.server for s in speeds),
        )
        row(name, *cells, *(f"{part:.0f}" for part in parts), f"{both:.0f}", f"{cost / both:.1f}")


def _empty_outbox() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {OUTBOX}")


def _medians(speeds: list[Speed]) -> tuple[float, float]:
    """Return the median of rows per second, and of microseconds of CPU for each row."""
    costs = [speed.client + speed.server for speed in speeds]
    return statistics.median(s.rows_per_second for s in speeds), statistics.median(costs)


def _server_cpu() -> float:
    """Return the seconds of CPU of this connection's backend."""
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _measure(rows: int, publish: Callable[[], None]) -> Speed:
    """Return the speed at which this process publishes a number of rows."""
    server, client, begun = _server_cpu(), time.process_time(), time.perf_counter()
    publish()
    seconds = time.perf_counter() - begun
    return Speed(
        rows_per_second=rows / seconds,
        client=(time.process_time() - client) / rows * 1e6,
        server=(_server_cpu() - server) / rows * 1e6,
    )


def _drain_in_processes(processes: int, announce: Callable[[], None]) -> Speed:
    """Announce rows, then drain them in a number of processes. Return their speed together."""
    announce()
    connections.close_all()  # otherwise the children would share them
    fork = multiprocessing.get_context("fork")
    ready, done = fork.Barrier(processes + 1), fork.Barrier(processes + 1)
    speeds: Any = fork.Queue()
    workers = [fork.Process(target=_drain, args=(ready, done, speeds)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    begun = time.perf_counter()
    done.wait()
    seconds = time.perf_counter() - begun
    parts = [speeds.get() for _ in workers]
    for worker in workers:
        worker.join()
    assert not NotificationOutbox.objects.pending().exists()
    return Speed(
        rows_per_second=ROWS / seconds,
        client=sum(part.client for part in parts),
        server=sum(part.server for part in parts),
    )


def _drain(ready: Any, done: Any, speeds: Any) -> None:
    with Relay(using=USING) as relay:
        connection.ensure_connection()

        def drain() -> None:
            while NotificationOutbox.objects.pending().exists():
                relay.drain()

        ready.wait()
        speeds.put(_measure(ROWS, drain))
        done.wait()
    connections.close_all()


def textbook_relay() -> None:
    """
    Publish rows as textbooks do, one at a time.

    Lock the row, serialize its object, send it by `group_send`, and mark the row as sent.
    """
    layer = RedisChannelLayer(hosts=[django_settings.REDIS_URL])
    for _ in range(TEXTBOOK_ROWS):
        with transaction.atomic():
            pending = NotificationOutbox.objects.filter(published_at=None).order_by("id")
            first = pending.select_for_update(skip_locked=True)[0]
            ticket = Ticket.objects.get(pk=first.object_id)
            payload = dict(TicketSerializer(ticket).data)
            message = {"type": "notify", "payload": payload}
            async_to_sync(layer.group_send)(first.stream.replace(":", "."), message)
            # The table's constraints require these values of a published row.
            first.offset, first.payload, first.image = first.pk, payload, None
            first.published_at = timezone.now()
            first.save(update_fields=["offset", "payload", "image", "published_at"])


class Listener(threading.Thread):
    """A thread that records when Redis delivers each envelope of a ticket's own stream."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        #: By title of the ticket.
        self.times: dict[str, float] = {}
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
                    self.times.setdefault(payload["title"], time.perf_counter())


@pytest.mark.parametrize("rate", [1, 40, 400])
def test_latency(rate: int, settings: Any, ticket: Ticket, tmp_path: Path) -> None:
    """Measure the time from the commit of a save to Redis, through the real processes."""
    settings.PILLARBOX = {
        **settings.PILLARBOX,
        "WAKE_UP": "pillarbox.relay.celery_wake_ups.wake_up",
    }
    celery_wake_ups.clear_request()
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
        while not committed.keys() <= listener.times.keys() and time.perf_counter() < end:
            time.sleep(0.05)
    listener.ended = True
    listener.join()
    lags = sorted((listener.times[title] - at) * 1000 for title, at in committed.items())
    if rate == 1:
        print("\n| saves/s | reached | commit to publish, p50 ms | p99 ms | most |")
        print("|---|---|---|---|---|")
    p50, p99 = statistics.median(lags), lags[int(len(lags) * 0.99)]
    print(f"| {rate} | {reached:.0f} | {p50:.1f} | {p99:.1f} | {lags[-1]:.1f} |")


def test_claim_cost() -> None:
    """Measure a claim of 100 rows: with old rows, with bad statistics, and during a long transaction."""
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
        cursor.execute("CHECKPOINT")  # so that none begins during the measurement
    times, whole = [], []
    for number in range(CLAIMS):
        shard = number % 16
        streams = STREAMS_OF[shard] * 10
        announce(streams)
        begun = time.perf_counter()
        pks = claim(shard, using=USING).rows
        times.append((time.perf_counter() - begun) * 1000)
        found = load(pks, using=USING, longest=1_000_000)
        settle(found, using=USING)
        release(shard, using=USING)
        whole.append((time.perf_counter() - begun) * 1000)
        assert len(streams) == len(found)
    return statistics.median(times), statistics.median(whole)


@pytest.mark.parametrize("vacuum", ["PostgreSQL's own", "ours"])
def test_a_long_run(vacuum: str, settings: Any) -> None:
    """Measure the size of table and indexes while rows are committed, published and pruned."""
    settings.PILLARBOX = {**settings.PILLARBOX, "RETENTION_SECONDS": LONG_RUN_RETENTION}
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
