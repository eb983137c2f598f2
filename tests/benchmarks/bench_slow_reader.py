"""
The cost of a client that reads 1 kB per second, for the other clients:

    python -m pytest -s tests/benchmarks/bench_slow_reader.py

prints a table in Markdown. All processes are real, as in production. But a socket's buffer is smaller and its
time to catch up is shorter, so that Daphne closes the slow reader within a turn. Turns with and without it
alternate, on the same sockets of one Daphne. The run takes about three minutes. Other programs on the machine
affect the figures more than the reader does; run the command with `chrt -r 1`, as root, to avoid that.
"""

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from django.db import transaction
from websockets.frames import Opcode

from apps.tickets.models import Ticket
from pillarbox.relay.relay import Relay
from tests.bare_sockets import BareSocket

from .sites import Ours, subject, tokens_of_members
from .tables import header, row

pytestmark = pytest.mark.django_db(transaction=True)

SOCKETS, RATE, SECONDS, TURNS = 500, 8, 18, 4
TEXT, READ_BYTES, READS_PER_SECOND = 4000, 100, 10
CAPACITY, SLOW_SECONDS = 20, 6
KINDS = ("alone", "beside the slow reader")


@dataclass
class Measured:
    """The measurements of all turns of a kind."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu_percent: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def test_slow_reader(tmp_path: Path, ticket: Ticket, relay: Relay) -> None:
    """Send the same changes to the same sockets, without and with a slow reader, in turns."""
    tokens = tokens_of_members(ticket.project, SOCKETS + 1)
    relay.drain()
    measured = defaultdict(Measured)
    ends = []
    with Ours(tmp_path / "site") as site:
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.server.daphne_settings",
            "DAPHNE_PILLARBOX": json.dumps({"SLOW_SECONDS": SLOW_SECONDS}),
            "DAPHNE_LAYER": json.dumps({"capacity": CAPACITY}),
        }
        site.start("worker", "beat", "daphne")
        site.connect(tokens[:SOCKETS], [subject(ticket)] * SOCKETS)
        _turn(site, ticket, Measured())  # a warm-up, not measured
        for turn in range(TURNS):
            for kind in KINDS if turn % 2 else reversed(KINDS):
                if kind == "alone":
                    _turn(site, ticket, measured[kind])
                else:
                    with reading_slowly(site, tokens[-1], subject(ticket)) as reader:
                        _turn(site, ticket, measured[kind])
                    ends.append(reader.end())
    header(f"{SOCKETS} sockets, {RATE} changes/s", "p50 ms", "p99 ms", "Daphne's CPU, %", "MB")
    for kind in KINDS:
        row(kind, *map(_median, vars(measured[kind]).values()))
    print(
        f"Per turn, notifications that the slow reader received, of {RATE * SECONDS}, and close code: {ends}"
    )


def _median(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _turn(site: Ours, ticket: Ticket, measured: Measured) -> None:
    """Change a ticket at a rate. Record the lag of each notification, CPU and memory."""
    cpu_begun = site.cpu_seconds()
    committed = _change(ticket)
    assert site.clients.wait(len(committed))
    measured.cpu_percent.append((site.cpu_seconds() - cpu_begun) / SECONDS * 100)
    measured.memory.append(site.memory_bytes() / 1e6)
    received = [each.notifications for each in site.clients.take()]
    assert {len(committed)} == {len(each) for each in received}
    # Each offset comes once and in order, so the n-th notification belongs to the n-th commit.
    lags = [
        (at - then) * 1000
        for each in received
        for then, (at, _) in zip(committed, each, strict=True)
    ]
    measured.p50.append(statistics.median(lags))
    measured.p99.append(statistics.quantiles(lags, n=100)[98])


def _change(ticket: Ticket) -> list[float]:
    """Change a ticket at a rate. Return the time of each commit."""
    committed: list[float] = []
    begun = time.monotonic()
    for number in range(RATE * SECONDS):
        time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
        with transaction.atomic():
            ticket.title, ticket.description = f"{begun}: {number}", "x" * TEXT
            transaction.on_commit(lambda: committed.append(time.monotonic()))
            ticket.save()
    return committed


class Reader:
    """A client that subscribes and reads slowly. The offsets that it receives must be contiguous."""

    def __init__(self, port: int, token: str, request: str) -> None:
        headers = {"Authorization": f"Token {token}"}
        self.socket = BareSocket(port, "/ws/notifications/", is_narrow=True, **headers)
        self.socket.send_text(request)
        self.offsets: list[int] = []

    def read_slowly(self, is_over: Event) -> None:
        """Read a few bytes at a time until the turn is over."""
        while not is_over.wait(1 / READS_PER_SECOND) and self.socket.can_read():
            self._receive(self.socket.read_some(READ_BYTES))

    def end(self) -> tuple[int, int | None]:
        """Read the remaining frames. Return the number of notifications, and the close code or None."""
        while self.socket.close is None and len(self.offsets) < RATE * SECONDS:
            self._receive(self.socket.read())
        self.socket.connection.close()
        first = self.offsets[0]
        assert list(range(first, first + len(self.offsets))) == self.offsets
        return len(self.offsets), self.socket.close and self.socket.close.code

    def _receive(self, frames: list[Any]) -> None:
        for frame in frames:
            if frame.opcode is Opcode.TEXT:
                content = json.loads(frame.data)
                if "event_id" in content:
                    self.offsets.append(content["offset"])


@contextmanager
def reading_slowly(site: Ours, token: str, request: str) -> Iterator[Reader]:
    """Have a reader read slowly while the block runs."""
    reader, is_over = Reader(site.daphne_port, token, request), Event()
    thread = Thread(target=reader.read_slowly, args=[is_over])
    thread.start()
    try:
        yield reader
    finally:
        is_over.set()
        thread.join()
