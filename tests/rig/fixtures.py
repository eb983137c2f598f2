"""Users, projects and tickets that are there before a run begins."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS
from rest_framework.authtoken.models import Token

from apps.realtime import hashids
from apps.realtime.groups import stream_for
from apps.tickets.models import Project, Ticket
from workers.relay import Relay


def prepare(clients: int, projects: int, tickets: int) -> dict[str, Any]:
    """Create users with tokens, members of projects with tickets. Return what a run must know of them."""
    names = ["stranger", *(f"client {number}" for number in range(1, clients + 1))]
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
            listeners.append(_listener(user, token, followed, is_allowed=True))
    if clients:
        listeners.append(_listener(*stranger, [collection, subjects[0]], is_allowed=False))
    with Relay(using=DEFAULT_DB_ALIAS) as relay:
        relay.drain()
    return {"listeners": listeners, "projects": pks}


def _subject(object_type: str, noun: str, pk: int) -> list[str]:
    """Return how a client names a stream, and the stream."""
    return [object_type, hashids.encode(noun, pk), stream_for(object_type, pk)]


def _listener(user: Any, token: Any, subjects: list[Any], *, is_allowed: bool) -> dict[str, Any]:
    return {
        "name": user.username,
        "token": token.key,
        "subjects": subjects,
        "is_allowed": is_allowed,
    }
