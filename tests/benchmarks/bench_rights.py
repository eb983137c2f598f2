"""
The cost of a thousand rights that end at once, for users who keep theirs:

    python -m pytest -s tests/benchmarks/bench_rights.py

prints a table in Markdown. All processes are real, as in production. In each turn a ticket changes at a
steady rate. In the middle of every other turn, one statement removes all members of another project. Some of
them follow the ticket, too. The run takes about two minutes.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer

import pytest
from django.contrib.auth import get_user_model
from django.db import connections, transaction

from apps.tickets.models import Project, Ticket
from pillarbox.relay.relay import Relay

from .sites import Ours, subject, tokens_of_members
from .tables import header, row

pytestmark = pytest.mark.django_db(transaction=True)

#: Followers who keep all rights, followers who lose one, and the number of rights that end.
STAYING, LOSING, ENDS = 200, 200, 1000
RATE, SECONDS, TURNS = 10, 8, 4
KINDS = ("alone", "beside a thousand ends")


@dataclass
class Measured:
    """The measurements of all turns of a kind."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    worst: list[float] = field(default_factory=list)
    cpu_percent: list[float] = field(default_factory=list)


def test_ends_of_rights(tmp_path: Path, ticket: Ticket, relay: Relay) -> None:
    """Send the same changes to the same sockets, alone and beside a thousand ends of rights, in turns."""
    tokens = tokens_of_members(ticket.project, STAYING + LOSING)
    elsewhere = Project.objects.create(name="Elsewhere")
    user_model = get_user_model()
    losing = user_model.objects.filter(auth_token__key__in=tokens[STAYING:])
    others = user_model.objects.bulk_create(
        user_model(username=f"other {number}") for number in range(ENDS - LOSING)
    )
    relay.drain()
    measured = defaultdict(Measured)
    with Ours(tmp_path / "site") as site:
        site.start("worker", "beat", "daphne")
        site.connect(tokens, [subject(ticket)] * len(tokens))
        _turn(site, ticket, Measured(), lambda: None)  # a warm-up, not measured
        for turn in range(TURNS):
            for kind in KINDS if turn % 2 else reversed(KINDS):
                elsewhere.members.set([*losing, *others])
                relay.drain()
                is_alone = kind == KINDS[0]
                act = (lambda: None) if is_alone else (lambda: _end_rights(elsewhere))
                _turn(site, ticket, measured[kind], act)
    title = f"{STAYING} sockets, {RATE} changes/s"
    header(title, "p50 ms", "p99 ms", "worst ms", "Daphne's CPU, %")
    for kind in KINDS:
        row(kind, *map(_median, vars(measured[kind]).values()))


def _median(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _end_rights(project: Project) -> None:
    try:
        Project.members.through.objects.filter(project=project).delete()
    finally:
        connections.close_all()


def _turn(site: Ours, ticket: Ticket, measured: Measured, act: Callable[[], None]) -> None:
    """Change a ticket at a rate, and act in the middle. Record the lag for users who keep their rights."""
    cpu_begun = site.cpu_seconds()
    acting = Timer(SECONDS / 2, act)
    acting.start()
    committed = _change(ticket)
    acting.join()
    # A client that loses a right may be resynced. It then doesn't receive the notifications before that.
    assert site.clients.wait(len(committed), first=STAYING), site.log("daphne")
    measured.cpu_percent.append((site.cpu_seconds() - cpu_begun) / SECONDS * 100)
    received = [each.notifications for each in site.clients.take()][:STAYING]
    assert {len(committed)} == {len(each) for each in received}
    lags = [
        (at - then) * 1000
        for each in received
        for then, (at, _) in zip(committed, each, strict=True)
    ]
    measured.p50.append(statistics.median(lags))
    measured.p99.append(statistics.quantiles(lags, n=100)[98])
    measured.worst.append(max(lags))


def _change(ticket: Ticket) -> list[float]:
    """Change a ticket at a rate. Return the time of each commit."""
    committed: list[float] = []
    begun = time.monotonic()
    for number in range(RATE * SECONDS):
        time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
        with transaction.atomic():
            ticket.title = f"{begun}: {number}"
            transaction.on_commit(lambda: committed.append(time.monotonic()))
            ticket.save()
    return committed
