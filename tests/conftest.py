"""What many tests need: users, a project, tickets, a relay, a socket."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connection, connections

from apps.outbox.models import NotificationOutbox
from apps.tickets.models import Project, Ticket
from workers.relay import Relay

pytest.register_assert_rewrite("tests.law")


def pytest_configure() -> None:
    """Passwords of tests needn't be hard to guess."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Threads of tests end, and their connections with them."""
    connections[DEFAULT_DB_ALIAS].settings_dict["CONN_MAX_AGE"] = 0


@pytest.fixture
def demo(db: None) -> Any:
    """A member of the project."""
    return get_user_model().objects.create_user("demo", password="demo")


@pytest.fixture
def other(db: None) -> Any:
    """A member of nothing."""
    return get_user_model().objects.create_user("other", password="other")


@pytest.fixture
def admin(db: None) -> Any:
    """Somebody who may do everything in the admin."""
    return get_user_model().objects.create_superuser("admin", password="admin")


@pytest.fixture
def project(demo: Any) -> Project:
    """demo's project."""
    project = Project.objects.create(name="Website")
    project.members.add(demo)
    return project


@pytest.fixture
def ticket(project: Project) -> Ticket:
    """A ticket of demo's project."""
    return Ticket.objects.create(project=project, title="The logo is blurred")


@pytest.fixture
def empty_outbox(ticket: Ticket) -> None:
    """Nothing is left of how the project and the ticket came to be."""
    NotificationOutbox.objects.all().delete()


@pytest.fixture
def execute(db: None) -> Callable[..., list[Any]]:
    """Execute SQL, and return the rows that it finds."""

    def execute(sql: str, *values: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    return execute


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A relay of this thread."""
    with Relay(using=DEFAULT_DB_ALIAS) as relay:
        yield relay


@pytest.fixture
def published(ticket: Ticket, relay: Relay) -> None:
    """The project and the ticket have been announced."""
    relay.drain()


@pytest.fixture
def announced() -> Callable[[], list[tuple[str, str]]]:
    """Return what is in the outbox: stream and event of each row, in order."""

    def announced() -> list[tuple[str, str]]:
        return list(NotificationOutbox.objects.order_by("id").values_list("stream", "event"))

    return announced
