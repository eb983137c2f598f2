"""Who can't serve clients says so, and why."""

import pytest
from django.db import connection

from workers import readiness as module
from workers.readiness import readiness, stopping

pytestmark = pytest.mark.django_db(transaction=True)
READY = {"ready": True, "database": "ok", "migrations": "applied"}


@pytest.fixture(autouse=True)
def anew():
    """Each test asks for itself."""
    module._is_migrated.cache_clear()
    yield
    module._is_migrated.cache_clear()
    stopping.clear()


def test_who_can_is_ready():
    """
    Who serves sockets says how the channel layer is.
    """
    assert READY == readiness(serves_sockets=False)
    assert {**READY, "channel_layer": "ok"} == readiness(serves_sockets=True)


def test_without_its_migrations_nobody_is_ready():
    """
    The code is newer than the database.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM django_migrations WHERE app = 'outbox' ORDER BY id DESC LIMIT 1"
        )
        (last,) = cursor.fetchone()
        cursor.execute("UPDATE django_migrations SET name = 'gone' WHERE name = %s", [last])
        try:
            assert {**READY, "ready": False, "migrations": "missing"} == readiness(
                serves_sockets=False
            )
        finally:
            cursor.execute("UPDATE django_migrations SET name = %s WHERE name = 'gone'", [last])


def test_without_the_database_nobody_is_ready():
    """
    One that doesn't answer is away.
    """
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME COLUMN app TO application")
        try:
            found = readiness(serves_sockets=False)
        finally:
            cursor.execute("ALTER TABLE django_migrations RENAME COLUMN application TO app")
    assert {"ready": False, "database": "away", "migrations": "unknown"} == found


def test_who_is_stopping_is_not_ready():
    """
    Whatever else is well.
    """
    stopping.set()
    assert {**READY, "ready": False, "stopping": True} == readiness(serves_sockets=False)
