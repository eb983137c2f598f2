"""Fixtures that many tests need: users, a project, tickets, a relay."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connection, connections
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from apps.tickets.models import Project, Ticket
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.relay import wake_ups
from pillarbox.relay.relay import Relay
from tests.layers import RecordingLayer
from tests.rendering import render_all
from tests.waiting import PATIENCE

pytest.register_assert_rewrite("tests.law", "tests.testing.stories")

# No deadline for an example: the machine may be slow.
hypothesis_settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("patient")


def pytest_configure() -> None:
    """Called once at the start. Sets a fast password hasher, since passwords of tests need no protection."""
    # A shell ignores Ctrl-C in what it starts in the background, and programs of tests would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Close connections after use: threads of tests end without closing them."""
    connections[DEFAULT_DB_ALIAS].settings_dict["CONN_MAX_AGE"] = 0


@pytest.fixture
def demo(db: None) -> Any:
    """Return a user who is a member of the project."""
    return get_user_model().objects.create_user("demo", password="demo")


@pytest.fixture
def other(db: None) -> Any:
    """Return a user who is a member of no project."""
    return get_user_model().objects.create_user("other", password="other")


@pytest.fixture
def admin(db: None) -> Any:
    """Return a superuser."""
    return get_user_model().objects.create_superuser("admin", password="admin")


@pytest.fixture
def project(demo: Any) -> Project:
    """Return a project whose only member is demo."""
    project = Project.objects.create(name="Website")
    project.members.add(demo)
    # As if the right had begun long ago: a recent start of a right hides earlier rows.
    NotificationOutbox.objects.filter(stream=RIGHTS).delete()
    return project


@pytest.fixture
def ticket(project: Project) -> Ticket:
    """Return a ticket of demo's project."""
    return Ticket.objects.create(project=project, title="The logo is blurred")


@pytest.fixture
def empty_outbox(ticket: Ticket) -> None:
    """Delete the rows that announce the project and the ticket."""
    NotificationOutbox.objects.all().delete()


@pytest.fixture
def execute(db: None) -> Callable[..., list[Any]]:
    """Return a function that executes SQL and returns the rows found."""

    def execute(sql: str, *values: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    return execute


@pytest.fixture
def relay() -> Iterator[Relay]:
    """Yield a relay that works in this thread."""
    with Relay(using=DEFAULT_DB_ALIAS) as relay:
        yield relay


@pytest.fixture
def published(ticket: Ticket, relay: Relay) -> None:
    """Publish the rows that announce the project and the ticket."""
    relay.drain()


@pytest.fixture
def announced() -> Callable[[], list[tuple[str, str]]]:
    """Return a function that returns the outbox: stream and event of each row, in order."""

    def announced() -> list[tuple[str, str]]:
        return list(NotificationOutbox.objects.order_by("id").values_list("stream", "event"))

    return announced


@pytest.fixture
def rendered() -> Callable[..., list[tuple[str, str, Any]]]:
    """Render everything. Return stream, event and payload of each row except ends of rights, oldest first."""

    def rendered(**lookup: Any) -> list[tuple[str, str, Any]]:
        render_all()
        rows = NotificationOutbox.objects.filter(**lookup).exclude(stream=RIGHTS).order_by("id")
        return [(row.stream, row.event, row.payload) for row in rows]

    return rendered


@pytest.fixture(autouse=True)
def unhurried_wake_ups(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Redis answer late, so that a slow test machine doesn't count as an outage."""
    monkeypatch.setattr(wake_ups, "ANSWER_SECONDS", PATIENCE)
    wake_ups._redis.cache_clear()
    yield
    wake_ups._redis.cache_clear()


@pytest.fixture
def sent(settings: Any) -> list[Any]:
    """Record the messages that the channel layer is sent, in order."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    RecordingLayer.sent.clear()
    return RecordingLayer.sent
