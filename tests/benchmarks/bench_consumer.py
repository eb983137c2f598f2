"""
The cost, speed and losses of sockets, compared with the plain pattern in the same run:

    python -m pytest -s tests/benchmarks/bench_consumer.py

prints tables in Markdown. All processes are real: Daphne, the worker, Redis and PostgreSQL. PostgreSQL waits
for the disk at each commit, as in production. The two patterns take turns. The run takes about seven minutes.
"""

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, transaction

from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import TicketSerializer
from pillarbox.relay.relay import Relay
from pillarbox.stream import history

from .sites import Ours, Plain, subject, tokens_of_members
from .tables import compare, header, row

pytestmark = pytest.mark.django_db(transaction=True)

USING = DEFAULT_DB_ALIAS
SITES = (Ours, Plain)
SOCKETS, CHANGES, TURNS = 200, 100, 7
RATE, WARM, SECONDS, LATENCY_TURNS = 40, 20, 10, 3
BURST_SOCKETS, BURST_TICKETS, BURST, BURST_TRANSACTION = 10, 100, 3000, 100
PROJECTS, RESUMING, MISSED, RESUME_TURNS = 20, 1000, 20, 3
IDLE, IDLE_WARM, IDLE_SECONDS, IDLE_TURNS = 500, 50, 50, 2


def head_of(instance: Ticket | Project) -> history.Position:
    """Return the head of the stream of a ticket, or of a project's tickets."""
    name = "ticket" if isinstance(instance, Ticket) else "project.tickets"
    return history.head(f"{name}:{instance.pk}", using=USING)


def test_deliveries(tmp_path: Path, ticket: Ticket, relay: Relay) -> None:
    """Deliver batches from one Daphne to many sockets on one stream, as fast as possible."""
    tokens = tokens_of_members(ticket.project, SOCKETS)
    relay.drain()
    rates, costs, sizes = defaultdict(list), defaultdict(list), {}
    with ExitStack() as stack:
        sites = [stack.enter_context(site(tmp_path / site.name)) for site in SITES]
        for site in sites:
            site.start("daphne")
            site.connect(tokens, [subject(ticket)] * SOCKETS)
        for turn in range(TURNS + 1):
            for site in sites:
                seconds, cpu_seconds, sizes[site.name] = _deliver(site, ticket)
                if turn:  # the first is a warm-up
                    rates[site.name].append(SOCKETS * CHANGES / seconds)
                    costs[site.name].append(cpu_seconds / SOCKETS / CHANGES * 1e6)
    sizes_by_site = ", ".join(f"{name} {size} bytes" for name, size in sizes.items())
    compare(f"deliveries/s to {SOCKETS} sockets (a frame: {sizes_by_site})", rates)
    compare("CPU time of Daphne for each, µs", costs)


def _deliver(site: Ours, ticket: Ticket) -> tuple[float, float, int]:
    """Publish a batch. Return its seconds, Daphne's seconds of CPU, and the size of a frame."""
    payload = dict(TicketSerializer(ticket).data)
    site.prepare(ticket, payload, CHANGES)
    after, cpu_begun, begun = head_of(ticket).offset, site.cpu_seconds(), time.monotonic()
    site.publish(ticket, payload, CHANGES)
    assert site.clients.wait(CHANGES)
    cpu_seconds = site.cpu_seconds() - cpu_begun
    received = site.clients.take()
    assert {CHANGES} == {len(each.notifications) for each in received}
    site.check_order(received, [after] * SOCKETS)
    ended = max(each.notifications[-1][0] for each in received)
    return ended - begun, cpu_seconds, len(received[0].notifications[-1][1])


def test_latency(tmp_path: Path, ticket: Ticket, relay: Relay) -> None:
    """Measure the time from the commit of a save to a socket, through worker and Daphne."""
    tokens = tokens_of_members(ticket.project, 1)
    relay.drain()
    lags: dict[str, list[float]] = defaultdict(list)
    lost: dict[str, int] = defaultdict(int)
    for turn in range(LATENCY_TURNS):
        for kind in SITES:
            with kind(tmp_path / f"{kind.name} {turn}") as site:
                site.start(*site.carriers, "daphne")
                site.connect(tokens, [subject(ticket)])
                found, missing = _lags(site, ticket)
            lags[site.name] += found
            lost[site.name] += missing
    header(f"commit to socket at {RATE} saves/s", "p50 ms", "p99 ms", "most", "saves", "not shown")
    for name, found in lags.items():
        p50, p99 = statistics.median(found), statistics.quantiles(found, n=100)[98]
        print(
            f"| {name} | {p50:.1f} | {p99:.1f} | {max(found):.1f} | {len(found)} | {lost[name]} |"
        )
    assert 0 == lost[Ours.name]


def _lags(site: Ours, ticket: Ticket) -> tuple[list[float], int]:
    """Return the lag of each change in milliseconds, and the number of changes never shown."""
    committed: dict[str, float] = {}
    with site.saving():
        begun = time.monotonic()
        for number in range(WARM + RATE * SECONDS):
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            with transaction.atomic():
                ticket.title = title = f"{begun}: {number}"
                transaction.on_commit(lambda t=title: committed.update({t: time.monotonic()}))
                site.save(ticket)
    site.clients.wait(len(committed), seconds=10)
    shown: dict[str, float] = {}
    for at, body in site.clients.take()[0].notifications:
        shown.setdefault(json.loads(body)["payload"]["title"], at)
    measured = list(committed)[WARM:]
    lags = [(shown[title] - committed[title]) * 1000 for title in measured if title in shown]
    return lags, len(measured) - len(lags)


def test_burst(tmp_path: Path, project: Project, relay: Relay) -> None:
    """
    Save many changes of many tickets at once.

    A task of the plain pattern reads the ticket when it runs, perhaps after a later change.
    """
    tokens = tokens_of_members(project, BURST_SOCKETS)
    tickets = Ticket.objects.bulk_create(
        Ticket(project=project, title=str(number)) for number in range(BURST_TICKETS)
    )
    relay.drain()
    header(
        f"{BURST} changes to {BURST_SOCKETS} sockets",
        "seconds",
        "never shown",
        "repeated",
        "reordered",
    )
    for kind in SITES:
        with kind(tmp_path / kind.name) as site:
            site.start(*site.carriers, "daphne")
            site.connect(tokens, [subject(project)] * BURST_SOCKETS)
            after, begun = head_of(project).offset, time.monotonic()
            _save_all(site, tickets)
            site.clients.wait(BURST)
            received = site.clients.take()
        site.check_order(received, [after] * BURST_SOCKETS)
        ended = max(each.notifications[-1][0] for each in received)
        bodies = ([body for _, body in each.notifications] for each in received)
        counts = [sum(each) for each in zip(*map(_count_errors, bodies), strict=True)]
        row(site.name, f"{ended - begun:.1f}", *counts)
        assert site.name != Ours.name or counts == [0, 0, 0]


def _save_all(site: Ours, tickets: Sequence[Ticket]) -> None:
    with site.saving():
        for start in range(0, BURST, BURST_TRANSACTION):
            with transaction.atomic():
                for number in range(start, start + BURST_TRANSACTION):
                    ticket = tickets[number % len(tickets)]
                    ticket.title = f"Change {number}"
                    site.save(ticket)


def _count_errors(bodies: Iterable[bytes]) -> tuple[int, int, int]:
    """Return the number of changes never shown, shown again, and shown after a later one."""
    numbers = [int(json.loads(body)["payload"]["title"].split()[1]) for body in bodies]
    latest, reordered = -1, 0
    for number in numbers:
        reordered += number < latest
        latest = max(latest, number)
    return BURST - len(set(numbers)), len(numbers) - len(set(numbers)), reordered


def test_resuming(tmp_path: Path, relay: Relay) -> None:
    """Connect all sockets at once, to resume. The plain pattern can't resume from a position."""
    projects = [Project.objects.create(name=str(number)) for number in range(PROJECTS)]
    tokens = [tokens_of_members(project, RESUMING // PROJECTS) for project in projects]
    seconds, queries, costs = defaultdict(list), defaultdict(list), defaultdict(list)
    lost: dict[str, int] = defaultdict(int)
    for turn in range(RESUME_TURNS):
        relay.drain()
        since = [head_of(project) for project in projects]
        _miss(projects, relay)
        for kind in SITES:
            before = _transactions()
            with kind(tmp_path / f"{kind.name} {turn}") as site:
                site.start("daphne")
                cpu_begun = site.cpu_seconds()
                duration, missing = _resume(site, projects, since, tokens)
                lost[site.name] += missing
                seconds[site.name].append(duration)
                costs[site.name].append((site.cpu_seconds() - cpu_begun) / RESUMING * 1000)
            queries[site.name].append((_transactions() - before) / RESUMING)
    counted = ", ".join(f"{name} {count}" for name, count in lost.items())
    compare(
        f"{RESUMING} sockets resume, seconds (notifications lost, in all turns: {counted})",
        seconds,
        1,
    )
    compare("CPU time of Daphne for each, ms", costs, 1)
    compare("transactions of PostgreSQL for each, one for each query", queries, 1)
    assert 0 == lost[Ours.name]


def _miss(projects: Sequence[Project], relay: Relay) -> None:
    for project in projects:
        Ticket.objects.bulk_create(
            Ticket(project=project, title=str(number)) for number in range(MISSED)
        )
    relay.drain()


def _resume(
    site: Ours,
    projects: Sequence[Project],
    since: Sequence[history.Position],
    tokens: Sequence[Sequence[str]],
) -> tuple[float, int]:
    """Return the seconds until all sockets are up to date, and the number of lost notifications."""
    requests = [
        (token, subject(project, since={"epoch": position.epoch, "offset": position.offset}))
        for project, position, theirs in zip(projects, since, tokens, strict=True)
        for token in theirs
    ]
    begun = time.monotonic()
    assert site.clients.open(site.daphne_port, requests), site.log("daphne")
    site.clients.wait(MISSED if site.name == Ours.name else 0)
    seconds = time.monotonic() - begun
    received = site.clients.take()
    assert {"subscribed"} == {json.loads(each.answers[1])["type"] for each in received}
    site.check_order(received, [position.offset for position in since for _ in tokens[0]])
    return seconds, sum(MISSED - len(each.notifications) for each in received)


def _transactions() -> int:
    """Return the number of transactions in the database's statistics."""
    connection.close()  # PostgreSQL adds a backend's transactions at the latest when it ends
    time.sleep(0.5)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database"
            " WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[0])


def test_idle(tmp_path: Path, project: Project, relay: Relay) -> None:
    """Measure memory and CPU of idle sockets, each of which follows a ticket of its own."""
    tokens = tokens_of_members(project, IDLE_WARM + IDLE)
    tickets = Ticket.objects.bulk_create(
        Ticket(project=project, title=str(number)) for number in range(len(tokens))
    )
    relay.drain()
    sockets = list(zip(tokens, map(subject, tickets), strict=True))
    memory, later, cpu = defaultdict(list), defaultdict(list), defaultdict(list)
    for turn in range(IDLE_TURNS):
        with ExitStack() as stack:
            sites = [stack.enter_context(site(tmp_path / f"{site.name} {turn}")) for site in SITES]
            before = {site.name: _fill(site, sockets) for site in sites}
            begun = {site.name: site.cpu_seconds() for site in sites}
            for site in sites:
                memory[site.name].append((site.memory_bytes() - before[site.name]) / IDLE / 1000)
            time.sleep(IDLE_SECONDS)
            for site in sites:
                later[site.name].append((site.memory_bytes() - before[site.name]) / IDLE / 1000)
                cpu_seconds = site.cpu_seconds() - begun[site.name]
                cpu[site.name].append(cpu_seconds / IDLE_SECONDS * 1000)
    compare(f"memory of Daphne for each of {IDLE} idle sockets, kB", memory, 1)
    compare(f"the same, {IDLE_SECONDS} seconds later", later, 1)
    compare("CPU time of Daphne for all of them in a second, ms", cpu, 1)


def _fill(site: Ours, sockets: Sequence[tuple[str, str]]) -> int:
    """Open all sockets. Return Daphne's memory after the first of them, the warm-up."""
    site.start("daphne")
    site.connect(*zip(*sockets[:IDLE_WARM], strict=True))
    before = site.memory_bytes()
    site.connect(*zip(*sockets[IDLE_WARM:], strict=True))
    return before
