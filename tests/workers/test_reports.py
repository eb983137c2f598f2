"""Each process says that it runs, and how it is."""

from contextlib import closing

import pytest
from django.db import DEFAULT_DB_ALIAS, connection

from apps.outbox.instances import known
from apps.outbox.models import Instance, NotificationOutbox
from tests.rig.processes import wait_until
from tests.workers.announcing import announce
from workers import tasks
from workers.app import app
from workers.beat import BellScheduler
from workers.breaker import Breaker
from workers.daphne import facts
from workers.relay import Relay
from workers.reports import Reporter

pytestmark = pytest.mark.django_db(transaction=True)


def seen(kind):
    """Return what the instances of a kind last said of themselves."""
    return [each.facts for each in known(using=DEFAULT_DB_ALIAS) if each.kind == kind]


class TestReporter:
    def test_reports_until_it_is_stopped(self):
        """
        Again and again, with what is so then; a stop withdraws it, and may come twice.
        """
        counted = iter(range(1_000_000))
        with Reporter("worker", lambda: {"n": next(counted)}, seconds=0.01) as reporter:
            wait_until(lambda: seen("worker") and seen("worker")[0]["n"] > 3, "it reported often")
            assert reporter.name == Instance.objects.get().name
            reporter.stop()
            assert [] == seen("worker")
        assert not Instance.objects.exists()

    def test_that_never_started_may_be_stopped(self):
        """
        As when a process ends before it began.
        """
        Reporter("worker", dict).stop()
        assert not Instance.objects.exists()

    def test_outlives_an_outage(self, caplog, monkeypatch):
        """
        A database that ends its connections, or refuses new ones, costs a line in the log for each outage.
        """
        with Reporter("worker", dict, seconds=0.01) as reporter:
            wait_until(lambda: seen("worker"), "it reported")
            with monkeypatch.context() as patched, connection.cursor() as cursor:
                patched.setitem(connection.settings_dict, "HOST", "/nowhere")
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                wait_until(lambda: "Not reported" in caplog.text, "it was refused")
            Instance.objects.all().delete()
            wait_until(lambda: seen("worker"), "it reported again")
            assert 1 == caplog.text.count("Not reported")
            assert reporter.name == Instance.objects.get().name

    def test_does_not_mind_what_facts_raise(self, caplog):
        """
        Whoever can't say how it is goes stale, and goes on with its work.
        """

        def broken():
            raise RuntimeError("of\nmany lines")

        with Reporter("worker", broken, seconds=0.01):
            wait_until(lambda: "Not reported: of many lines" in caplog.text, "it tried")
        assert 1 == caplog.text.count("Not reported")
        assert not Instance.objects.exists()


class TestFacts:
    def test_of_a_relay(self, settings, sent, relay):
        """
        It says when a drain went well, and why its breaker is open.
        """
        assert {"breaker": None, "drained_at": None} == relay.facts()
        relay.try_to_drain()
        good = relay.facts()["drained_at"]
        assert good is not None
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        relay.breaker = Breaker("The channel layer", jitter=lambda: 0)
        announce(count=1)
        relay.try_to_drain()
        assert (good, relay.breaker.why) == (relay.facts()["drained_at"], relay.facts()["breaker"])
        assert relay.breaker.why
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
        relay.try_to_drain()
        assert relay.facts()["drained_at"] > good
        assert relay.facts()["breaker"] is None

    def test_of_beat(self):
        """
        It reports from when it keeps its schedule until it is told to end.
        """
        scheduler = BellScheduler(app=app)
        with closing(scheduler):
            wait_until(lambda: seen("beat"), "beat reports")
            (said,) = seen("beat")
            assert {**said, "swept_at": None, "broker": None} == said
            assert said["since"] <= said["at"]
        scheduler.close()
        assert [] == seen("beat")
        BellScheduler(app=app, lazy=True).close()

    def test_of_a_worker(self):
        """
        Each of its processes reports its relay.
        """
        tasks.start_reporting()
        wait_until(lambda: seen("worker"), "the worker reports")
        tasks.stop_reporting()
        assert [] == seen("worker")
        tasks._relay().close()
        for made in (tasks._relay, tasks._reporter):
            made.cache_clear()

    def test_of_daphne(self):
        """
        Its sockets and subscriptions, and its channel layer, of which it knows nothing while it has none.
        """
        assert {"sockets": 0, "subscriptions": 0, "layer": None} == facts()


def test_relays_of_tests_leave_nothing(relay):
    """
    Who drains without a reporter is not known.
    """
    assert isinstance(relay, Relay)
    relay.try_to_drain()
    assert not NotificationOutbox.objects.pending().exists()
    assert not Instance.objects.exists()
