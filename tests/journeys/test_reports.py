"""The processes of the Procfile say that they run; whoever is killed is missed."""

import os
import signal

import psycopg
import pytest
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection

from apps.outbox.instances import ALIVE_SECONDS, known
from apps.outbox.models import Instance
from tests.rig.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

DRAIN = "exec python manage.py drain --forever --interval 0.1"


def seen(kind, is_alive=True):
    """Return what the instances of a kind last said of themselves."""
    found = known(using=DEFAULT_DB_ALIAS)
    return [each.facts for each in found if each.kind == kind and each.is_alive == is_alive]


def test_a_graceful_stop_withdraws(site):
    """
    Each process of the Procfile reports itself with its facts, and leaves nothing behind when it is told
    to end; so does what drains without Celery.
    """
    site.commands = {**site.commands, "drain": DRAIN}
    site.start("worker", "beat", "daphne", "drain")
    wait_until(lambda: 3 == len(seen("worker")), "the worker's processes and drain report")
    wait_until(lambda: seen("beat") and seen("beat")[0]["swept_at"], "beat swept")
    wait_until(lambda: any("swept_at" in each for each in seen("worker")), "drain reports")
    wait_until(lambda: any(each["drained_at"] for each in seen("worker")), "a worker drained")
    (said,) = seen("daphne")
    assert {**said, "sockets": 0, "subscriptions": 0, "layer": None} == said
    for name in ("worker", "beat", "daphne", "drain"):
        site.stop(name)
    assert [] == list(Instance.objects.all())


def test_a_killed_one_goes_stale(site):
    """
    Whoever is killed is known as gone; the process that takes its place is another one.
    """
    site.start("worker")
    wait_until(lambda: 2 == len(seen("worker")), "the worker reports")
    victim = Instance.objects.first()
    os.kill(int(victim.name.rpartition(":")[2]), signal.SIGKILL)
    wait_until(lambda: 3 == Instance.objects.count(), "another one took its place")
    wait_until(lambda: seen("worker", is_alive=False), "it went stale", ALIVE_SECONDS + 20)
    assert [victim.name] == [
        each.name for each in known(using=DEFAULT_DB_ALIAS) if not each.is_alive
    ]
    assert 2 == len(seen("worker"))


def test_a_broker_that_is_away_is_told(site):
    """
    Beat says why it can't ask anybody to drain.
    """
    site.environment["CELERY_BROKER_URL"] = "redis://127.0.0.1:1"
    site.start("beat")
    wait_until(lambda: seen("beat") and seen("beat")[0]["broker"], "beat misses its broker")
    assert "Connection refused" in seen("beat")[0]["broker"]
    assert seen("beat")[0]["swept_at"] is None


def test_a_database_that_is_away_does_no_harm(site):
    """
    Who can't report goes on, and reports when the database is back.
    """
    site.commands = {**site.commands, "drain": DRAIN}
    site.start("drain")
    wait_until(lambda: seen("worker"), "drain reports")
    name = connection.settings_dict["NAME"]
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as server:
        try:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> %s",
                [name, connection.connection.info.backend_pid],
            )
            wait_until(lambda: "Not reported" in site.log("drain"), "it could not report")
            Instance.objects.all().delete()
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    wait_until(lambda: seen("worker"), "drain reports again")
    assert site.running["drain"].poll() is None
    site.stop("drain")
    assert not Instance.objects.exists()
