"""
A process that changes a project's tickets until its standard input ends.

    python -m tests.journeys.writer PROJECT RATE LONGEST

It mostly changes the first ticket. At times it changes several at once, creates or deletes another one, or
rolls back. LONGEST is the most characters of a text.
"""

import os
import random
import select
import sys
import time
from typing import Any

import django
from django.db import transaction


class Writer:
    def __init__(self, project: int, longest: int) -> None:
        self.project = Project.objects.get(pk=project)
        self.ticket = self.project.tickets.order_by("pk").first()
        self.longest = longest
        self.random = random.Random(project)
        self.changes = 0

    def change(self, ticket: Any) -> None:
        """Save a ticket with another text."""
        self.changes += 1
        ticket.title = f"Number {self.changes}"
        ticket.description = "x" * self.random.randint(0, self.longest)
        ticket.save()

    def step(self) -> None:
        chance = self.random.random()
        if chance < 0.8:
            self.change(self.ticket)
            return
        with transaction.atomic():
            for ticket in self.project.tickets.exclude(pk=self.ticket.pk)[: 1 + chance * 3]:
                self.change(ticket)
            if chance < 0.85:
                self.change(Ticket(project=self.project))
            elif chance < 0.9:
                self.project.tickets.exclude(pk=self.ticket.pk).delete()
            self.change(self.ticket)
            transaction.set_rollback(chance > 0.95)

    def run(self, rate: float) -> None:
        """Change tickets at a rate. Prints a line after the first change."""
        self.step()
        print("writing", flush=True)
        due = time.monotonic() + 1 / rate
        while not select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
            self.step()
            due += 1 / rate


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from apps.tickets.models import Project, Ticket

    Writer(int(sys.argv[1]), int(sys.argv[3])).run(float(sys.argv[2]))
