"""The users, projects and tickets that exist before a run begins."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS
from rest_framework.authtoken.models import Token

from apps.tickets.models import Project, Ticket
from pillarbox.relay.relay import Relay
from pillarbox.types import hashids
from pillarbox.types.groups import stream_for

#: The prefix of the names of guests: clients whose rights end and are given back.
GUEST = "guest"


def prepare(clients: int, projects: int, tickets: int, guests: int = 0) -> dict[str, Any]:
    """Create users with tokens, and projects with members and tickets. Return clients and projects."""
    names = [
        "stranger",
        *(f"client {number}" for number in range(1, clients + 1)),
        *(f"{GUEST} {number}" for number in range(1, guests + 1)),
    ]
    users = get_user_model().objects.bulk_create(get_user_model()(username=name) for name in names)
    tokens = Token.objects.bulk_create(Token(user=user, key=Token.generate_key()) for user in users)
    stranger, *members = zip(users, tokens, strict=True)
    listeners, pks = [], []
    for number in range(projects):
        project = Project.objects.create(name=f"Project {number}")
        made = [Ticket.objects.create(project=project, title="new") for _ in range(tickets)]
        pks.append(project.pk)
        collection = _subject("project.tickets", "project", project.pk)
        subjects = [_subject("ticket", "ticket", ticket.pk) for ticket in made]
        for place, (user, token) in enumerate(members[number::projects]):
            project.members.add(user)
            followed = [collection, subjects[place % tickets]]
            if is_guest := user.username.startswith(GUEST):
                user.last_name = guests_of(project.pk)
                user.save()
            listeners.append(_listener(user, token, followed, is_allowed=True, is_guest=is_guest))
    if clients:
        listeners.append(_listener(*stranger, [collection, subjects[0]], is_allowed=False))
    with Relay(using=DEFAULT_DB_ALIAS) as relay:
        relay.drain()
    return {"listeners": listeners, "projects": pks}


def guests_of(project: int) -> str:
    """Return the last name that marks the guests of a project."""
    return f"of {project}"


def _subject(object_type: str, noun: str, pk: int) -> list[str]:
    """Return the object type and public id by which a client subscribes to a stream, and the stream."""
    return [object_type, hashids.encode(noun, pk), stream_for(object_type, pk)]


def _listener(
    user: Any, token: Any, subjects: list[Any], *, is_allowed: bool, is_guest: bool = False
) -> dict[str, Any]:
    return {
        "name": user.username,
        "token": token.key,
        "subjects": subjects,
        "is_allowed": is_allowed,
        "is_guest": is_guest,
    }
