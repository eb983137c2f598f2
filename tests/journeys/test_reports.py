"""Tests of the reports of processes: running ones report themselves, killed ones count as dead."""

import os
import signal

import psycopg
import pytest
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection

from pillarbox.models import Process
from pillarbox.monitoring.processes import known
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

DRAIN = "exec python manage.py pillarbox run"


def seen(kind, is_alive=True):
    """Return the last reported facts of the processes of a kind."""
    found = known(using=DEFAULT_DB_ALIAS)
    return [each.facts for each in found if each.kind == kind and each.is_alive == is_alive]


def test_a_graceful_stop_withdraws(site):
    """
    Each process of the Procfile reports its facts, and deletes its report on SIGTERM. So does `drain`, which
    needs no Celery.
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
    assert [] == list(Process.objects.all())


def test_a_killed_process_counts_as_dead(site):
    """
    The report of a killed process goes stale; the process that replaces it has its own report.
    """
    site.start("worker")
    wait_until(lambda: 2 == len(seen("worker")), "the worker reports")
    victim = Process.objects.first()
    os.kill(int(victim.name.rpartition(":")[2]), signal.SIGKILL)
    wait_until(lambda: 3 == Process.objects.count(), "another one took its place")
    wait_until(lambda: seen("worker", is_alive=False), "it went stale")
    assert [victim.name] == [
        each.name for each in known(using=DEFAULT_DB_ALIAS) if not each.is_alive
    ]
    assert 2 == len(seen("worker"))


def test_a_missing_broker_is_reported(site):
    """
    Beat's report has the reason why it can't reach the broker.
    """
    site.environment["CELERY_BROKER_URL"] = "redis://127.0.0.1:1"
    site.start("beat")
    wait_until(lambda: seen("beat") and seen("beat")[0]["broker"], "beat misses its broker")
    assert "Connection refused" in seen("beat")[0]["broker"]
    assert seen("beat")[0]["swept_at"] is None


def test_a_process_survives_an_absent_database(site):
    """
    A process that can't report continues, and reports once the database is back.
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
            Process.objects.all().delete()
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    wait_until(lambda: seen("worker"), "drain reports again")
    assert site.running["drain"].poll() is None
    site.stop("drain")
    assert not Process.objects.exists()
