"""The demo data."""

import random
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from .models import Project, Ticket

ACCOUNTS = ("demo", "other", "admin")

TICKETS = {
    "Website": [
        "The logo is blurred",
        "Add a dark theme",
        "The search finds nothing",
        "Typo in the footer",
    ],
    "Office": ["The coffee machine leaks", "Order new chairs", "The lift makes a noise"],
}


@transaction.atomic
def create() -> None:
    """
    Create the demo users, two projects and their tickets. Existing ones are not changed.

    Each user's password is the user's name. demo is a member of both projects, other of one.
    """
    users = {name: _account(name) for name in ACCOUNTS}
    members = {"Website": ["demo", "other"], "Office": ["demo"]}
    for name, titles in TICKETS.items():
        project, created = Project.objects.get_or_create(name=name)
        if not created:
            continue
        project.members.set(users[member] for member in members[name])
        for title in titles:
            Ticket.objects.create(project=project, title=title)


def change_something() -> str:
    """Change a random demo ticket as its users would; return what was done."""
    ticket = Ticket.objects.filter(project__name__in=TICKETS).order_by("?").first()
    if ticket is None:
        return "There is no ticket left to change."
    statuses = [status for status in Ticket.Status if status != ticket.status]
    ticket.status = random.choice(statuses)  # noqa: S311  # no secret
    ticket.save()
    return f"{ticket.title}: {ticket.get_status_display()}"


def _account(name: str) -> Any:
    model = get_user_model()
    if found := model.objects.filter(username=name).first():
        return found
    if name == "admin":
        return model.objects.create_superuser(name, password=name)
    return model.objects.create_user(name, password=name)
