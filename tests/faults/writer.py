"""
A process that changes tickets at a rate, and keeps a record of what it committed.

    python -m tests.faults.writer SEED SECONDS RATE

One in five changes is rolled back. Where a commit fails, nobody knows whether it happened: the record
says so.
"""

import json
import os
import random
import sys
import time
from typing import Any

import django
from django.db import InterfaceError, OperationalError, connection, transaction

TICKETS = 12


class Writer:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.number = 0
        self.record = (orders.FOLDER / "record").open("a", buffering=1)

    def run(self, seconds: float, rate: float) -> None:
        """Commit changes until the time is over."""
        project = Project.objects.create(name=f"Project of writer {self.seed}")
        self._note(f"project:{project.pk}", project.name, is_certain=True)
        self.tickets: list[Any] = []
        while len(self.tickets) < TICKETS:
            self._write(Ticket(project=project))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self.random.expovariate(rate))
            self._write(self.random.choice(self.tickets))

    def _write(self, ticket: Any) -> None:
        self.number += 1
        ticket.title = f"{self.seed}:{self.number}"
        is_kept = ticket.pk is None or self.random.random() > 0.2
        try:
            with transaction.atomic():
                ticket.save()
                transaction.set_rollback(not is_kept)
        except (OperationalError, InterfaceError):
            connection.close()
            self._note_ticket(ticket, is_certain=False)
            time.sleep(0.05)
        else:
            if is_kept:
                self._note_ticket(ticket, is_certain=True)
            # After a crash PostgreSQL may give the key of a ticket that never was to another writer's.
            if ticket not in self.tickets:
                self.tickets.append(ticket)

    def _note_ticket(self, ticket: Any, *, is_certain: bool) -> None:
        for stream in (f"ticket:{ticket.pk}", f"project.tickets:{ticket.project_id}"):
            self._note(stream, ticket.title, is_certain=is_certain)

    def _note(self, stream: str, content: str, *, is_certain: bool) -> None:
        line = {"stream": stream, "content": content, "at": time.time(), "is_certain": is_certain}
        self.record.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.faults.settings")
    django.setup()
    from apps.tickets.models import Project, Ticket
    from tests.faults import orders

    Writer(int(sys.argv[1])).run(float(sys.argv[2]), float(sys.argv[3]))
