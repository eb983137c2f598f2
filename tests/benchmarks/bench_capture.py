"""
What capture costs, beside no notifications at all and beside the plain pattern, in one run:

    python -m pytest --no-cov -s tests/benchmarks/bench_capture.py

prints tables in Markdown. PostgreSQL waits for the disk at each commit, as in production. The variants
take turns, block by block, so that a noisy neighbour disturbs all of them.
"""

import multiprocessing
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels_redis.core import RedisChannelLayer
from django.conf import settings as django_settings
from django.db import connection, connections, transaction

from apps.outbox.capture import Notification, _insert
from apps.realtime.registry import register, unregister
from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import TicketSerializer
from workers.bell import clear, ring

pytestmark = pytest.mark.django_db(transaction=True)

TURNS, WARM, SAVES = 20, 5, 50
OBJECTS, REPEATS = 10_000, 5
WRITERS, SECONDS = 8, 3


class Times(defaultdict[str, list[float]]):
    """Durations in milliseconds, by name."""

    def __init__(self) -> None:
        super().__init__(list)
        self.measuring = False

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure the block."""
        begun = time.perf_counter()
        yield
        if self.measuring:
            self[name].append((time.perf_counter() - begun) * 1000)


TIMES = Times()


class TimedType(TicketType):
    """A ticket whose serializing is measured apart."""

    def payload(self, instance: Any) -> Any:
        with TIMES.of("serializer"):
            return super().payload(instance)


def timed_ring(using: str) -> None:
    """The bell, measured apart."""
    with TIMES.of("bell"):
        ring(using)


@pytest.fixture(autouse=True)
def as_in_production(settings: Any) -> Iterator[None]:
    """The bell is rung."""
    settings.OUTBOX = {**settings.OUTBOX, "BELL": f"{__name__}.timed_ring"}
    TIMES.clear()
    TIMES.measuring = False
    yield
    clear()


@contextmanager
def registered(kind: type[TicketType] | None) -> Iterator[None]:
    """For as long, tickets are of this type, or of none."""
    unregister("ticket")
    if kind:
        register(kind)
    yield
    if kind:
        unregister("ticket")
    register(TicketType)


def save(ticket: Ticket) -> None:
    """A changed save in a transaction."""
    ticket.title = f"Ticket {time.perf_counter()}"
    with transaction.atomic():
        ticket.save()


def with_two_rows(ticket: Ticket) -> None:
    """The same, with two rows inserted by SQL: what no outbox can do without."""
    ticket.title = f"Ticket {time.perf_counter()}"
    with transaction.atomic():
        ticket.save()
        _insert([NOTIFICATION] * 2, connection.alias)


def plain_pattern(ticket: Ticket) -> None:
    """As the article does it: the save sends to the group."""
    save(ticket)
    message = {"type": "notify", "payload": dict(TicketSerializer(ticket).data)}
    async_to_sync(LAYER.group_send)(f"ticket.{ticket.pk}", message)


LAYER = RedisChannelLayer(hosts=[django_settings.REDIS_URL])
NOTIFICATION = Notification(
    stream="ticket:0",
    event="UPDATE_TICKET",
    object_type="ticket",
    object_id="0",
    payload='{"title": "%s"}' % ("x" * 250),
)
APART = "ours, serializer and bell apart"
VARIANTS: list[tuple[str, Callable[[Ticket], None], type[TicketType] | None]] = [
    ("no notifications", save, None),
    ("two rows by SQL", with_two_rows, None),
    ("ours", save, TimedType),
    ("plain pattern", plain_pattern, None),
]


def test_a_save(ticket: Ticket) -> None:
    """A changed save of a ticket, which is announced on two streams."""
    for _ in range(TURNS):
        for name, change, kind in VARIANTS:
            with registered(kind):
                for number in range(WARM + SAVES):
                    TIMES.measuring = number >= WARM
                    with TIMES.of(name):
                        change(ticket)
                TIMES.measuring = False
    parts = zip(TIMES["ours"], TIMES["serializer"], TIMES["bell"], strict=True)
    TIMES[APART] = [whole - serializer - bell for whole, serializer, bell in parts]
    bare = statistics.median(TIMES["no notifications"])
    print(
        f"\n| a changed save, {TURNS * SAVES} times | p50 ms | p99 ms | p50, relative |\n|---|---|---|---|"
    )
    for name in [
        "no notifications",
        "two rows by SQL",
        APART,
        "serializer",
        "bell",
        "ours",
        "plain pattern",
    ]:
        p50, p99 = statistics.median(TIMES[name]), statistics.quantiles(TIMES[name], n=100)[98]
        print(f"| {name} | {p50:.2f} | {p99:.2f} | {p50 / bare:.2f} |")


def test_bulk_create(project: Project) -> None:
    """Ten thousand tickets at once."""

    def create() -> None:
        Ticket.objects.bulk_create(Ticket(project=project, title=str(n)) for n in range(OBJECTS))

    TIMES.measuring = True
    for _ in range(REPEATS):
        for name, kind in [("no notifications", None), ("ours", TimedType)]:
            with registered(kind):
                already = sum(TIMES["serializer"])
                with TIMES.of(name):
                    create()
                if kind:
                    TIMES[APART].append(TIMES["ours"][-1] - (sum(TIMES["serializer"]) - already))
                Ticket.objects.all()._raw_delete(connection.alias)
    bare = statistics.median(TIMES["no notifications"])
    print(f"\n| bulk_create of {OBJECTS} | p50 ms | relative |\n|---|---|---|")
    for name in ["no notifications", APART, "ours"]:
        p50 = statistics.median(TIMES[name])
        print(f"| {name} | {p50:.0f} | {p50 / bare:.2f} |")


def test_a_hot_object(ticket: Ticket) -> None:
    """Many processes save one ticket as fast as they can."""
    throughput: dict[str, list[float]] = defaultdict(list)
    for _ in range(3):
        for name, change, kind in VARIANTS:
            with registered(kind):
                throughput[name].append(_saves_per_second(change, ticket.pk))
    bare = statistics.median(throughput["no notifications"])
    print(f"\n| {WRITERS} writers, one ticket | saves/s | relative |\n|---|---|---|")
    for name, found in throughput.items():
        print(
            f"| {name} | {statistics.median(found):.0f} | {statistics.median(found) / bare:.2f} |"
        )


def _saves_per_second(change: Callable[[Ticket], None], pk: int) -> float:
    connections.close_all()  # a child would use its parent's
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
