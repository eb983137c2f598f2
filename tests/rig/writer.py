"""A process that changes tickets at a rate until it is ended. The ledger has what it committed."""

import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction

from apps.realtime.groups import stream_for
from apps.realtime.registry import unregister
from apps.tickets.models import Ticket
from apps.tickets.serializers import TicketSerializer

from . import ledger
from .plain.consumer import send

logger = logging.getLogger(__name__)

#: What its log has when it begins.
WRITING = "Writing"
#: It creates tickets until it has so many.
TICKETS = 12
#: The part of the transactions that are rolled back in the end.
ROLLED_BACK = 0.1
#: Errors, by how their SQLSTATE begins, of a database that is killed, starts, or can't be reached.
AWAY = ("08", "57P")
#: Changes that failed, and why, a line each; in DATA_DIR.
FAILED = "failed.log"


class Writer:
    """Changes the tickets of some projects. No other writer does, so that each stream has one order."""

    def __init__(self, projects: Sequence[int], *, seed: str, batch: int, is_plain: bool) -> None:
        self.projects = projects
        self.tickets: list[Ticket] = []
        self.random = random.Random(seed)
        #: Changes in one transaction.
        self.batch = batch
        self.is_plain = is_plain
        # No other writer has these contents, nor an earlier life of this one.
        self.mark, self.number = f"{seed} {time.time_ns():x}", 0

    def run(self, rate: float) -> None:
        """Change so many tickets each second, for ever."""
        begun = time.monotonic()
        logger.info(WRITING)
        while True:
            time.sleep(max(0.0, begun + self.number / rate - time.monotonic()))
            try:
                self.step()
            except Exception as error:  # noqa: BLE001  # any error makes a failed save
                if is_away(error):
                    connection.close()
                    time.sleep(0.05)
                else:
                    with (Path(settings.DATA_DIR) / FAILED).open("a") as file:
                        file.write(f"{error!r}\n")

    def step(self) -> None:
        """Change some tickets in a transaction, which may be rolled back."""
        self.tickets = self.tickets or [*Ticket.objects.filter(project__in=self.projects)]
        chosen = [self._choose() for _ in range(self.batch)]
        is_kept = self.random.random() >= ROLLED_BACK
        with transaction.atomic():
            changes = [self._save(ticket) for ticket in chosen]
            with connection.cursor() as cursor:
                # After the locks of the rows, so that its order is that of the commits.
                cursor.executemany(ledger.RECORD, changes)
            transaction.set_rollback(not is_kept)
        if is_kept:
            self.tickets += [ticket for ticket in chosen if ticket not in self.tickets]

    def _choose(self) -> Ticket:
        if len(self.tickets) < TICKETS:
            return Ticket(project_id=self.random.choice(self.projects))
        return self.random.choice(self.tickets)

    def _save(self, ticket: Ticket) -> tuple[list[str], str]:
        self.number += 1
        ticket.title = f"{self.mark} {self.number}"
        ticket.save()
        if self.is_plain:
            send(dict(TicketSerializer(ticket).data))
        streams = [
            stream_for("ticket", ticket.pk),
            stream_for("project.tickets", ticket.project_id),
        ]
        return streams, ticket.title


def is_away(error: Exception) -> bool:
    """Whether an error says that the database isn't there, rather than that it refuses something."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)  # a connection that broke has none
    return state is None or state.startswith(AWAY)


def write(projects: Sequence[int], *, rate: float, is_plain: bool = False, **options: Any) -> None:
    """Be the process."""
    if is_plain:  # the outbox knows nothing of tickets
        unregister("ticket")
    Writer(projects, is_plain=is_plain, **options).run(rate)
