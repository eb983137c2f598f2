"""Fixtures for tests of sockets."""

import pytest

from apps.tickets.models import Project, Ticket
from tests.registration import registered
from tests.sockets.drawn_rights import SHOWN, DrawnProjects, DrawnTickets


@pytest.fixture
def drawn(demo, other):
    """Return users, projects and tickets for random changes of rights, with their types registered."""
    with registered(DrawnProjects, DrawnTickets):
        projects = [Project.objects.create(name=SHOWN) for _ in range(3)]
        owners = (*projects, projects[0])
        tickets = [Ticket.objects.create(project=project, title="first") for project in owners]
        yield [demo, other], projects, tickets
