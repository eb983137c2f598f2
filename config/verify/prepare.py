"""
Who and what is there before a run begins.

The ledger is a table into which each change of a run is written by its own transaction, so that the database
itself knows afterwards what was committed, and in what order.
"""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connection
from rest_framework.authtoken.models import Token

from apps.realtime import hashids
from apps.tickets.models import Project, Ticket
from workers.relay import Relay

TICKETS = 5
LEDGER = (
    "CREATE TABLE verify_ledger (id bigserial PRIMARY KEY, ticket bigint NOT NULL, content text NOT NULL,"
    " at timestamptz NOT NULL DEFAULT clock_timestamp())"
)


def prepare(clients: int, projects: int) -> dict[str, Any]:
    """Create users with tokens, members of projects with tickets; return what a run must know of them."""
    users = get_user_model().objects.bulk_create(
        get_user_model()(username=f"client {number}") for number in range(clients + 1)
    )
    tokens = Token.objects.bulk_create(Token(user=user, key=Token.generate_key()) for user in users)
    stranger, *members = zip(users, tokens, strict=True)
    listeners, groups = [], []
    streams: dict[int, list[str]] = {}
    for number in range(projects):
        project = Project.objects.create(name=f"Project {number}")
        tickets = [Ticket.objects.create(project=project, title="new") for _ in range(TICKETS)]
        groups.append([ticket.pk for ticket in tickets])
        collection = ["project.tickets", hashids.encode("project", project.pk)]
        subjects = [["ticket", hashids.encode("ticket", ticket.pk)] for ticket in tickets]
        streams |= {
            ticket.pk: [" ".join(subject), " ".join(collection)]
            for ticket, subject in zip(tickets, subjects, strict=True)
        }
        for place, (user, token) in enumerate(members[number::projects]):
            project.members.add(user)
            listeners.append(
                _listener(user, token, [collection, subjects[place % TICKETS]], is_allowed=True)
            )
    listeners.append(_listener(*stranger, [collection, subjects[0]], is_allowed=False))
    with connection.cursor() as cursor:
        cursor.execute(LEDGER)
    with Relay(using=DEFAULT_DB_ALIAS) as relay:
        relay.drain()
    return {"listeners": listeners, "streams": streams, "projects": groups}


def _listener(user: Any, token: Any, subjects: list[Any], *, is_allowed: bool) -> dict[str, Any]:
    return {
        "name": user.username if is_allowed else "stranger",
        "token": token.key,
        "subjects": subjects,
        "is_allowed": is_allowed,
    }
