"""Tests of readiness: whether a process can serve clients, and why not."""

import pytest
from django.db import connection

from pillarbox.monitoring.probes import readiness as module
from pillarbox.monitoring.probes.readiness import readiness, stopping

pytestmark = pytest.mark.django_db(transaction=True)
READY = {"ready": True, "database": "ok", "migrations": "applied"}


@pytest.fixture(autouse=True)
def uncached():
    """Clear the cached query before and after each test."""
    module._missing.clear()
    yield
    module._missing.clear()
    stopping.clear()


def test_ready():
    """
    A ready process of sockets also reports the state of the channel layer.
    """
    assert READY == readiness(serves_sockets=False)
    assert {**READY, "channel_layer": "ok"} == readiness(serves_sockets=True)


def test_not_ready_without_migrations():
    """
    A process whose code is newer than the database isn't ready.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM django_migrations WHERE app = 'pillarbox' ORDER BY id DESC LIMIT 1"
        )
        (last,) = cursor.fetchone()
        cursor.execute("UPDATE django_migrations SET name = 'gone' WHERE app = 'pillarbox'")
        try:
            assert {**READY, "ready": False, "migrations": "missing"} == readiness(
                serves_sockets=False
            )
        finally:
            cursor.execute("UPDATE django_migrations SET name = %s WHERE name = 'gone'", [last])


def test_not_ready_without_the_database():
    """
    A process whose database fails isn't ready.
    """
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME COLUMN app TO application")
        try:
            found = readiness(serves_sockets=False)
        finally:
            cursor.execute("ALTER TABLE django_migrations RENAME COLUMN application TO app")
    assert {"ready": False, "database": "away", "migrations": "unknown"} == found


def test_not_ready_while_stopping():
    """
    A stopping process isn't ready.
    """
    stopping.set()
    assert {**READY, "ready": False, "stopping": True} == readiness(serves_sockets=False)
