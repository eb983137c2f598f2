"""The table of running processes."""

from datetime import timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from pillarbox.models import Process
from pillarbox.monitoring.processes import (
    ALIVE_SECONDS,
    KNOWN_SECONDS,
    forget,
    known,
    report,
    withdraw,
)

pytestmark = pytest.mark.django_db
NAME = "worker@host:7"


@pytest.fixture
def process():
    report(NAME, "worker", {"breaker": None}, using=DEFAULT_DB_ALIAS)
    return Process.objects.get()


def silent_for(seconds):
    moment = Now() - timedelta(seconds=seconds)
    Process.objects.update(seen_at=moment, started_at=moment)


def found():
    return [(each.name, each.is_alive) for each in known(using=DEFAULT_DB_ALIAS)]


def test_a_reporting_process_is_known(process):
    """
    A process is known with its kind and facts, and is alive.
    """
    (seen,) = known(using=DEFAULT_DB_ALIAS)
    assert (NAME, "worker", {"breaker": None}) == (seen.name, seen.kind, seen.facts)
    assert process.started_at == seen.started_at
    assert seen.is_alive


def test_a_later_report_replaces_the_first(process):
    """
    A process has one row with its latest facts, and keeps its start.
    """
    report(NAME, "worker", {"breaker": "refused"}, using=DEFAULT_DB_ALIAS)
    (seen,) = known(using=DEFAULT_DB_ALIAS)
    assert ({"breaker": "refused"}, process.started_at) == (seen.facts, seen.started_at)


def test_a_silent_process_is_gone(process):
    """
    A silent process stays known for a while, and is then forgotten.
    """
    silent_for(ALIVE_SECONDS + 1)
    assert [(NAME, False)] == found()
    assert 0 == forget(using=DEFAULT_DB_ALIAS)
    silent_for(KNOWN_SECONDS + 1)
    assert [] == found()
    assert 1 == forget(using=DEFAULT_DB_ALIAS)
    assert not Process.objects.exists()


def test_a_process_id_may_come_again(process):
    """
    A report under the name of a process that is gone is a new start.
    """
    silent_for(ALIVE_SECONDS + 1)
    report(NAME, "worker", {}, using=DEFAULT_DB_ALIAS)
    (seen,) = known(using=DEFAULT_DB_ALIAS)
    assert seen.is_alive
    assert Process.objects.get().seen_at == seen.started_at


def test_a_stopped_process_keeps_its_start():
    """
    A process that reports the same `since` keeps its start after any silence.
    """
    report(NAME, "worker", {"since": "then"}, using=DEFAULT_DB_ALIAS)
    silent_for(ALIVE_SECONDS + 1)
    started = Process.objects.get().started_at
    report(NAME, "worker", {"since": "then"}, using=DEFAULT_DB_ALIAS)
    assert started == Process.objects.get().started_at
    silent_for(ALIVE_SECONDS + 1)
    report(NAME, "worker", {"since": "later"}, using=DEFAULT_DB_ALIAS)
    assert started < Process.objects.get().started_at


def test_an_orderly_end_is_forgotten(process):
    """
    A withdrawn process is not known; withdrawing it twice has no effect.
    """
    for _ in range(2):
        withdraw(NAME, using=DEFAULT_DB_ALIAS)
    assert [] == found()
