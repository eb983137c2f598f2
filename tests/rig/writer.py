"""A process that changes tickets at a rate until it is ended. The ledger has what it committed."""

import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError, connection, transaction

from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import TicketSerializer
from pillarbox.types import hashids
from pillarbox.types.groups import stream_for
from pillarbox.types.registry import unregister

from . import ledger
from .fixtures import guests_of
from .history import content_of
from .plain.consumer import send

logger = logging.getLogger(__name__)

#: What its log has when it begins.
WRITING = "Writing"
#: It creates tickets until it has so many.
TICKETS = 12
#: The part of the changes that make a new ticket then, and of the transactions that delete one in the end.
CREATED = DELETED = 0.05
#: The part of the transactions that move a ticket to another project in the end, if one of those was changed.
MOVED = 0.2
#: The part of the transactions that take a guest's right away, or give it back.
RIGHTS = 0.2
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
        #: Its own ones, which no client follows. It changes one before it moves or deletes it, in the same
        #: transaction: that row is obsolete.
        self.created: list[Ticket] = []
        self.random = random.Random(seed)
        #: Changes in one transaction.
        self.batch = batch
        self.is_plain = is_plain
        #: The guests of each project, whose rights come and go: names by key.
        self.guests: dict[int, dict[int, str]] = {}
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
        if not self.tickets:
            self.tickets = [*Ticket.objects.filter(project__in=self.projects)]
            self.guests = {project: _guests(project) for project in self.projects}
        chosen = [self._choose() for _ in range(self.batch)]
        is_kept = self.random.random() >= ROLLED_BACK
        last = chosen[-1]
        is_last = last in self.created and self.random.random() < DELETED and not self.is_plain
        destination = None if is_last else self._destination(last)
        with transaction.atomic():
            if rights_first := self.random.random() < 0.5:
                self._change_rights(last)
            changes = [self._save(ticket) for ticket in chosen]
            if is_last:
                changes.append(self._delete(last))
            if destination is not None:
                changes += self._move(last, destination)
            if not rights_first:
                self._change_rights(last)
            with connection.cursor() as cursor:
                # After the locks of the rows, so that its order is that of the commits.
                cursor.executemany(ledger.RECORD, [(*one, self._outside(one)) for one in changes])
            transaction.set_rollback(not is_kept)
        if is_kept:
            new = [ticket for ticket in chosen if ticket not in self.tickets]
            self.tickets, self.created = self.tickets + new, self.created + new
            if is_last:
                self.tickets.remove(last)
                self.created.remove(last)
            if destination is not None:
                last.project_id = destination

    def _change_rights(self, ticket: Ticket) -> None:
        """Perhaps take a guest's right to see a ticket's project away, or give it back."""
        guests = self.guests.get(ticket.project_id)
        if guests and self.random.random() < RIGHTS:
            members, guest = ticket.project.members, self.random.choice(sorted(guests))
            change = members.remove if members.filter(pk=guest).exists() else members.add
            change(guest)

    def _outside(self, change: tuple[list[str], str]) -> list[str]:
        """Return the names of the guests who may not see a change when it is committed."""
        streams, _ = change
        project = int(streams[-1].partition(":")[2])
        if not (guests := self.guests.get(project)):
            return []
        members = Project.members.through.objects.filter(project=project)
        inside = set(members.values_list("user", flat=True))
        return [name for pk, name in guests.items() if pk not in inside]

    def _choose(self) -> Ticket:
        if len(self.tickets) < TICKETS or self.random.random() < CREATED:
            return Ticket(project_id=self.random.choice(self.projects))
        return self.random.choice(self.tickets)

    def _save(self, ticket: Ticket) -> tuple[list[str], str]:
        self.number += 1
        ticket.title = f"{self.mark} {self.number}"
        ticket.save()
        if self.is_plain:
            send(dict(TicketSerializer(ticket).data))
        return streams_of(ticket), ticket.title

    def _delete(self, ticket: Ticket) -> tuple[list[str], str]:
        self.number += 1
        # The instance keeps its key: the transaction may be rolled back.
        Ticket.objects.filter(pk=ticket.pk).delete()
        return streams_of(ticket), _gone(ticket)

    def _destination(self, ticket: Ticket) -> int | None:
        """Return the project that a ticket moves to now, in which it never was; None if it stays."""
        further = self.projects[self.projects.index(ticket.project_id) + 1 :]
        moves = ticket in self.created and self.random.random() < MOVED and not self.is_plain
        return further[0] if moves and further else None

    def _move(self, ticket: Ticket, project: int) -> list[tuple[list[str], str]]:
        self.number += 1
        title = f"{self.mark} {self.number}"
        own, left = streams_of(ticket)
        # The instance keeps its project: the transaction may be rolled back.
        Ticket.objects.filter(pk=ticket.pk).update(project=project, title=title)
        return [([own, stream_for("project.tickets", project)], title), ([left], _gone(ticket))]


def _guests(project: int) -> dict[int, str]:
    """Return the guests of a project: names by key."""
    users = get_user_model().objects.filter(last_name=guests_of(project))
    return dict(users.values_list("pk", "username"))


def _gone(ticket: Ticket) -> str:
    """Return the content of a notification that a ticket is gone."""
    return str(content_of({"id": hashids.encode("ticket", ticket.pk)}))


def streams_of(ticket: Ticket) -> list[str]:
    """Return the streams on which changes of a ticket are announced."""
    return [stream_for("ticket", ticket.pk), stream_for("project.tickets", ticket.project_id)]


def is_away(error: Exception) -> bool:
    """Whether an error says that the database isn't there, rather than that it refuses something."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)  # a connection that broke has none
    return state is None or state.startswith(AWAY)


def write(projects: Sequence[int], *, rate: float, is_plain: bool = False, **options: Any) -> None:
    """Be the process."""
    if is_plain:  # no worker is asked to look: the triggers have been removed
        unregister("ticket")
    Writer(projects, is_plain=is_plain, **options).run(rate)
