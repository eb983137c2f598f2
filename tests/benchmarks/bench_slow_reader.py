"""
What a reader that takes 1 kB a second costs those beside it, in one run:

    python -m pytest --no-cov -s tests/benchmarks/bench_slow_reader.py

prints a table in Markdown. Everything is real, as in production, but a socket may have less waiting, and not
for so long: each turn sees all that becomes of the reader. Turns with and without it alternate, on the same
sockets of one Daphne. It takes some three minutes. What else the machine does shows more than the reader:
`chrt -r 1` before the command, as root, keeps that out.
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
from tests.workers.clients import BareSocket
from workers.relay import Relay

from .sites import Ours, subject, tokens_of_members
from .tables import header, row

pytestmark = pytest.mark.django_db(transaction=True)

SOCKETS, RATE, SECONDS, TURNS = 500, 8, 18, 4
TEXT, SIP, SIPS_PER_SECOND = 4000, 100, 10
CAPACITY, SLOW_SECONDS = 20, 6
KINDS = ("alone", "beside it")


@dataclass
class Measured:
    """What was measured in the turns of a kind."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu_percent: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def test_slow_reader(tmp_path: Path, ticket: Ticket, relay: Relay) -> None:
    """The same changes to the same sockets, now without it and now beside it."""
    tokens = tokens_of_members(ticket.project, SOCKETS + 1)
    relay.drain()
    measured = defaultdict(Measured)
    ends = []
    with Ours(tmp_path / "site") as site:
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.workers.daphne_settings",
            "DAPHNE_REALTIME": json.dumps({"SLOW_SECONDS": SLOW_SECONDS}),
            "DAPHNE_LAYER": json.dumps({"capacity": CAPACITY}),
        }
        site.start("worker", "beat", "daphne")
        site.connect(tokens[:SOCKETS], [subject(ticket)] * SOCKETS)
        _turn(site, ticket, Measured())  # it warms
        for turn in range(TURNS):
            for kind in KINDS if turn % 2 else reversed(KINDS):
                if kind == "alone":
                    _turn(site, ticket, measured[kind])
                else:
                    with sipping(site, tokens[-1], subject(ticket)) as reader:
                        _turn(site, ticket, measured[kind])
                    ends.append(reader.end())
    header(f"{SOCKETS} sockets, {RATE} changes/s", "p50 ms", "p99 ms", "Daphne's CPU, %", "MB")
    for kind in KINDS:
        row(kind, *map(_median, vars(measured[kind]).values()))
    print(f"the reader was sent, of {RATE * SECONDS}, and closed with: {ends}")


def _median(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _turn(site: Ours, ticket: Ticket, measured: Measured) -> None:
    """Change a ticket at a rate; note how soon everybody had it."""
    worked = site.cpu_seconds()
    committed = _change(ticket)
    assert site.clients.wait(len(committed))
    measured.cpu_percent.append((site.cpu_seconds() - worked) / SECONDS * 100)
    measured.memory.append(site.memory_bytes() / 1e6)
    heard = [one.notifications for one in site.clients.take()]
    assert {len(committed)} == {len(one) for one in heard}
    # Each offset once and in order: which change a notification is about needn't be read.
    lags = [
        (at - then) * 1000 for one in heard for then, (at, _) in zip(committed, one, strict=True)
    ]
    measured.p50.append(statistics.median(lags))
    measured.p99.append(statistics.quantiles(lags, n=100)[98])


def _change(ticket: Ticket) -> list[float]:
    """Return when each change was committed."""
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
    """Subscribes, and takes little of what it is sent; what it has must be contiguous all the same."""

    def __init__(self, port: int, token: str, command: str) -> None:
        headers = {"Authorization": f"Token {token}"}
        self.socket = BareSocket(port, "/ws/notifications/", is_narrow=True, **headers)
        self.socket.say(command)
        self.offsets: list[int] = []

    def sip(self, is_over: Event) -> None:
        """Read slowly until told otherwise."""
        while not is_over.wait(1 / SIPS_PER_SECOND) and self.socket.can_read():
            self._hear(self.socket.sip(SIP))

    def end(self) -> tuple[int, int | None]:
        """Read what there is; return how many notifications came, and the code of the close, if it came."""
        while self.socket.close is None and len(self.offsets) < RATE * SECONDS:
            self._hear(self.socket.read())
        self.socket.connection.close()
        first = self.offsets[0]
        assert list(range(first, first + len(self.offsets))) == self.offsets
        return len(self.offsets), self.socket.close and self.socket.close.code

    def _hear(self, frames: list[Any]) -> None:
        for frame in frames:
            if frame.opcode is Opcode.TEXT:
                said = json.loads(frame.data)
                if "event_id" in said:
                    self.offsets.append(said["offset"])


@contextmanager
def sipping(site: Ours, token: str, command: str) -> Iterator[Reader]:
    """A reader sips while the block runs."""
    reader, is_over = Reader(site.daphne_port, token, command), Event()
    thread = Thread(target=reader.sip, args=[is_over])
    thread.start()
    try:
        yield reader
    finally:
        is_over.set()
        thread.join()
