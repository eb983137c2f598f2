"""Which processes run, by their own account."""

from datetime import timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from apps.outbox.instances import ALIVE_SECONDS, KNOWN_SECONDS, forget, known, report, withdraw
from apps.outbox.models import Instance

pytestmark = pytest.mark.django_db
NAME = "worker@host:7"


@pytest.fixture
def instance():
    report(NAME, "worker", {"breaker": None}, using=DEFAULT_DB_ALIAS)
    return Instance.objects.get()


def silent_for(seconds):
    moment = Now() - timedelta(seconds=seconds)
    Instance.objects.update(seen_at=moment, started_at=moment)


def found():
    return [(each.name, each.is_alive) for each in known(using=DEFAULT_DB_ALIAS)]


def test_who_reports_is_known(instance):
    """
    An instance is known with its kind and what it said of itself, and alive.
    """
    (seen,) = known(using=DEFAULT_DB_ALIAS)
    assert (NAME, "worker", {"breaker": None}) == (seen.name, seen.kind, seen.facts)
    assert instance.started_at == seen.started_at
    assert seen.is_alive


def test_a_later_report_replaces_the_first(instance):
    """
    There is one row for an instance, with its last facts; it started when it did.
    """
    report(NAME, "worker", {"breaker": "refused"}, using=DEFAULT_DB_ALIAS)
    (seen,) = known(using=DEFAULT_DB_ALIAS)
    assert ({"breaker": "refused"}, instance.started_at) == (seen.facts, seen.started_at)


def test_who_is_silent_is_gone(instance):
    """
    It stays known for a while, since it should be there; then it is forgotten.
    """
    silent_for(ALIVE_SECONDS + 1)
    assert [(NAME, False)] == found()
    assert 0 == forget(using=DEFAULT_DB_ALIAS)
    silent_for(KNOWN_SECONDS + 1)
    assert [] == found()
    assert 1 == forget(using=DEFAULT_DB_ALIAS)
    assert not Instance.objects.exists()


def test_a_process_id_may_come_again(instance):
    """
    Whoever reports under the name of an instance that is gone has started since.
    """
    silent_for(ALIVE_SECONDS + 1)
    report(NAME, "worker", {}, using=DEFAULT_DB_ALIAS)
    (seen,) = known(using=DEFAULT_DB_ALIAS)
    assert seen.is_alive
    assert Instance.objects.get().seen_at == seen.started_at


def test_who_was_stopped_has_not_started_again():
    """
    An instance that says since when it runs keeps its start, however long it was silent.
    """
    report(NAME, "worker", {"since": "then"}, using=DEFAULT_DB_ALIAS)
    silent_for(ALIVE_SECONDS + 1)
    started = Instance.objects.get().started_at
    report(NAME, "worker", {"since": "then"}, using=DEFAULT_DB_ALIAS)
    assert started == Instance.objects.get().started_at
    silent_for(ALIVE_SECONDS + 1)
    report(NAME, "worker", {"since": "later"}, using=DEFAULT_DB_ALIAS)
    assert started < Instance.objects.get().started_at


def test_who_ends_in_order_is_not_missed(instance):
    """
    A withdrawn instance is not known; to withdraw twice does no harm.
    """
    for _ in range(2):
        withdraw(NAME, using=DEFAULT_DB_ALIAS)
    assert [] == found()
