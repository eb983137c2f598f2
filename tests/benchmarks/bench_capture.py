"""
The cost of capture, compared with no notifications and with other patterns in the same run:

    python -m pytest -s tests/benchmarks/bench_capture.py

prints tables in Markdown. PostgreSQL waits for the disk at each commit, as in production. The variants take
turns, so that other programs on the machine affect all of them. CPU is that of this process and of its
backend of PostgreSQL.
"""

import multiprocessing
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels_redis.core import RedisChannelLayer
from django.conf import settings as django_settings
from django.db import connection, connections, transaction
from django.db.models import F

from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import TicketSerializer
from pillarbox.capture.notification import INSERT
from pillarbox.models import NotificationOutbox
from pillarbox.relay.celery_wake_ups import clear_request
from pillarbox.types.payload import encode
from pillarbox.types.registry import register, unregister
from workers.app import app

from .tables import header, row

pytestmark = pytest.mark.django_db(transaction=True)

TURNS, WARM, SAVES = 20, 5, 50
OBJECTS, REPEATS = 10_000, 5
WRITERS, SECONDS = 8, 3
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A way to announce the save of a ticket."""

    save: Callable[[Ticket], None]
    #: Whether triggers capture the change, and whether a wake-up is requested.
    is_captured: bool = False
    wakes_up: bool = False


def save(ticket: Ticket) -> None:
    """Change and save a ticket in a transaction."""
    ticket.title = f"Ticket {time.perf_counter()}"
    with transaction.atomic():
        ticket.save()


def with_two_rows(ticket: Ticket) -> None:
    """Do the same, and insert two rows by SQL: the minimum of any outbox."""
    ticket.title = f"Ticket {time.perf_counter()}"
    with transaction.atomic():
        ticket.save()
        _insert_two('{"title": "%s"}' % ("x" * 250))


def textbook_outbox(ticket: Ticket) -> None:
    """Do the same, and insert two rows with the serializer's output."""
    ticket.title = f"Ticket {time.perf_counter()}"
    with transaction.atomic():
        ticket.save()
        _insert_two(encode(TicketSerializer(ticket).data, "ticket"))


def task_per_change(ticket: Ticket) -> None:
    """Do the same, and send a Celery task after the commit. No worker runs it here."""
    ticket.title = f"Ticket {time.perf_counter()}"
    with transaction.atomic():
        ticket.save()
        transaction.on_commit(lambda: app.send_task("bench.announce", [ticket.pk], queue="bench"))


def plain_pattern(ticket: Ticket) -> None:
    """Save a ticket, and send it to its group, as tutorials do."""
    save(ticket)
    message = {"type": "notify", "payload": dict(TicketSerializer(ticket).data)}
    async_to_sync(LAYER.group_send)(f"ticket.{ticket.pk}", message)


def _insert_two(payload: str) -> None:
    with connection.cursor() as cursor:
        for stream in ("ticket:0", "project.tickets:0"):
            values = [stream, 0, "0193f00d-beef-4000-8000-000000000000", "UPDATE_TICKET"]
            cursor.execute(INSERT, [*values, "ticket", "0", payload])


LAYER = RedisChannelLayer(hosts=[django_settings.REDIS_URL])
BARE = "no notifications"
VARIANTS = {
    BARE: Variant(save=save),
    "two bare rows by SQL": Variant(save=with_two_rows),
    "ours, without the wake-up": Variant(save=save, is_captured=True),
    "ours": Variant(save=save, is_captured=True, wakes_up=True),
    "Celery task per change": Variant(save=task_per_change),
    "textbook outbox": Variant(save=textbook_outbox),
    "plain pattern": Variant(save=plain_pattern),
}


@pytest.fixture(autouse=True)
def _no_request_left() -> Iterator[None]:
    yield
    clear_request()


@contextmanager
def prepared(variant: Variant, settings: Any) -> Iterator[None]:
    """Announce tickets as the variant says, inside the block."""
    settings.PILLARBOX = settings.PILLARBOX | {
        "WAKE_UP": "pillarbox.relay.celery_wake_ups.wake_up" if variant.wakes_up else ""
    }
    if not variant.is_captured:
        unregister("ticket")
        _trigger("DISABLE")
    yield
    if not variant.is_captured:
        register(TicketType)
        _trigger("ENABLE")


def _trigger(verb: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Ticket._meta.db_table} {verb} TRIGGER USER")


def _server_cpu() -> float:
    """Return the seconds of CPU of this connection's backend."""
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _measure(change: Callable[[], Any]) -> tuple[float, float, float]:
    """Return the seconds of a change, and its seconds of CPU in client and server."""
    server, client, begun = _server_cpu(), time.process_time(), time.perf_counter()
    change()
    elapsed = time.perf_counter() - begun
    return elapsed, time.process_time() - client, _server_cpu() - server


def test_a_save(ticket: Ticket, settings: Any) -> None:
    """Measure a changed save of a ticket, which is announced on two streams."""
    times: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def saves(variant: Variant, durations: list[float]) -> None:
        for _ in range(SAVES):
            begun = time.perf_counter()
            variant.save(ticket)
            durations.append(time.perf_counter() - begun)

    for _ in range(TURNS):
        for name, variant in VARIANTS.items():
            with prepared(variant, settings):
                for _ in range(WARM):
                    variant.save(ticket)
                _, client, server = _measure(lambda v=variant, n=name: saves(v, times[n]))
                cpu[name].append((client / SAVES, server / SAVES))
    columns = ["p50 ms", "p99 ms", "relative", "CPU µs: client", "server", "both, relative"]
    header(f"a changed save, {TURNS * SAVES} times", *columns)
    bare, bare_cpu = statistics.median(times[BARE]), sum(_means(cpu[BARE]))
    for name, found in times.items():
        p50, p99 = statistics.median(found), statistics.quantiles(found, n=100)[98]
        client, server = _means(cpu[name])
        both = (client + server) / bare_cpu
        numbers = [f"{p50 * 1e3:.2f}", f"{p99 * 1e3:.2f}", f"{p50 / bare:.2f}"]
        row(name, *numbers, f"{client * 1e6:.0f}", f"{server * 1e6:.0f}", f"{both:.2f}")


def _means(cpu: list[tuple[float, float]]) -> tuple[float, float]:
    clients, servers = zip(*cpu, strict=True)
    # The server's CPU is counted in hundredths of a second, too coarse for a median.
    return statistics.median(clients), statistics.mean(servers)


def test_many_at_once(project: Project, settings: Any) -> None:
    """Measure the creation of ten thousand tickets by one call, and their change by another."""

    def create() -> None:
        Ticket.objects.bulk_create(Ticket(project=project, title=str(n)) for n in range(OBJECTS))

    def update() -> None:
        Ticket.objects.update(priority=F("priority") % 3 + 1)

    for name, change in (("bulk_create", create), ("update()", update)):
        found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for _ in range(REPEATS):
            for variant in (BARE, "ours"):
                if change is create:
                    _empty(Ticket)
                with prepared(VARIANTS[variant], settings):
                    found[variant].append(_measure(change))
                _empty(NotificationOutbox)
        header(f"{name} of {OBJECTS}", "p50 ms", "relative", "CPU ms: client", "server", "both")
        bare = [statistics.median(column) for column in zip(*found[BARE], strict=True)]
        for variant, measured in found.items():
            elapsed, client, server = (
                statistics.median(column) for column in zip(*measured, strict=True)
            )
            both = (client + server) / (bare[1] + bare[2])
            cells = [f"{elapsed * 1e3:.0f}", f"{elapsed / bare[0]:.2f}", f"{client * 1e3:.0f}"]
            row(variant, *cells, f"{server * 1e3:.0f}", f"{both:.2f}")


def _empty(model: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(f"TRUNCATE {model._meta.db_table} CASCADE")
        cursor.execute("SET session_replication_role = origin")


def test_a_hot_object(ticket: Ticket, settings: Any) -> None:
    """Measure how often many processes together can save one ticket per second."""
    throughput: dict[str, list[float]] = defaultdict(list)
    for _ in range(3):
        for name, variant in VARIANTS.items():
            with prepared(variant, settings):
                throughput[name].append(_saves_per_second(variant.save, ticket.pk))
    bare = statistics.median(throughput[BARE])
    header(f"{WRITERS} writers, one ticket", "saves/s", "relative")
    for name, found in throughput.items():
        row(name, f"{statistics.median(found):.0f}", f"{statistics.median(found) / bare:.2f}")


def _saves_per_second(change: Callable[[Ticket], None], pk: int) -> float:
    connections.close_all()  # otherwise the children would share them
    fork = multiprocessing.get_context("fork")
    counts: Any = fork.Queue()
    writers = [fork.Process(target=_write, args=(change, pk, counts)) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    total = sum(counts.get() for _ in writers)
    for writer in writers:
        writer.join()
    return float(total) / SECONDS


def _write(change: Callable[[Ticket], None], pk: int, counts: Any) -> None:
    ticket = Ticket.objects.get(pk=pk)
    change(ticket)
    count, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        change(ticket)
        count += 1
    counts.put(count)
    connections.close_all()
