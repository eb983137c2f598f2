"""Tests of the reports of running processes."""

import atexit
import threading
from dataclasses import dataclass

import pytest
from celery import Celery
from django.db import DEFAULT_DB_ALIAS, connection

from pillarbox import tasks
from pillarbox.models import NotificationOutbox, Process
from pillarbox.monitoring.processes import known
from pillarbox.monitoring.reporter import Reporter
from pillarbox.relay.breaker import LoggedBreaker
from pillarbox.relay.relay import Relay
from pillarbox.server.lifespan import facts
from tests.announcing import announce
from tests.ports import answers, free_port
from tests.waiting import wait_until
from workers.app import app

pytestmark = pytest.mark.django_db(transaction=True)


def seen(kind):
    """Return the reported facts of the processes of a kind."""
    return [each.facts for each in known(using=DEFAULT_DB_ALIAS) if each.kind == kind]


@pytest.fixture
def reading():
    """Return the Celery app of a worker that reads our queue."""
    with Celery("reading", set_as_current=False) as celery:
        celery.amqp.queues.select("pillarbox")
        yield celery
    app.set_current()


@dataclass
class Consumer:
    """The part of a worker that reads messages."""

    app: Celery
    pool: None = None


class TestReporter:
    def test_reports_until_it_is_stopped(self):
        """
        It reports current facts until it is stopped; a stop withdraws the report, and may come twice.
        """
        counted = iter(range(1_000_000))
        with Reporter("worker", lambda: {"n": next(counted)}, seconds=0.01) as reporter:
            wait_until(lambda: seen("worker") and seen("worker")[0]["n"] > 3, "it reported often")
            assert reporter.name == Process.objects.get().name
            reporter.stop()
            assert [] == seen("worker")
        assert not Process.objects.exists()

    def test_can_be_stopped_without_a_start(self):
        """
        A reporter that was never started can be stopped.
        """
        Reporter("worker", dict).stop()
        assert not Process.objects.exists()

    def test_outlives_an_outage(self, caplog, monkeypatch):
        """
        It goes on after lost and refused connections, and logs each outage once.
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
            Process.objects.all().delete()
            wait_until(lambda: seen("worker"), "it reported again")
            assert 1 == caplog.text.count("Not reported")
            assert reporter.name == Process.objects.get().name

    def test_goes_on_if_facts_raise(self, caplog):
        """
        If `facts` raises, nothing is reported, the error is logged once, and the process goes on.
        """

        def broken():
            raise RuntimeError("of\nmany lines")

        with Reporter("worker", broken, seconds=0.01):
            wait_until(lambda: "Not reported: of many lines" in caplog.text, "it tried")
        assert 1 == caplog.text.count("Not reported")
        assert not Process.objects.exists()


class TestFacts:
    def test_of_a_relay(self, settings, sent, relay):
        """
        A relay reports its last successful drain, and why its breaker is open.
        """
        assert {"breaker": None, "drained_at": None} == relay.facts()
        relay.try_to_drain()
        good = relay.facts()["drained_at"]
        assert good is not None
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        relay.breaker = LoggedBreaker("The channel layer", jitter=lambda: 0)
        announce(count=1)
        relay.try_to_drain()
        assert (good, relay.breaker.why) == (relay.facts()["drained_at"], relay.facts()["breaker"])
        assert relay.breaker.why
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
        relay.try_to_drain()
        assert relay.facts()["drained_at"] > good
        assert relay.facts()["breaker"] is None

    def test_of_a_worker(self, reading):
        """
        A process of a worker reports its relay until it ends, if the worker reads our queue.
        """
        tasks.start_reporting()
        tasks.stop_reporting()
        assert 0 == tasks._reporter.cache_info().currsize
        reading.set_current()
        tasks.start_reporting()
        wait_until(lambda: seen("worker"), "the worker reports")
        tasks.stop_reporting()
        assert [] == seen("worker")
        atexit.unregister(tasks._reporter().stop)
        tasks._relay().close()
        for made in (tasks._relay, tasks._reporter):
            made.cache_clear()

    def test_metrics_of_a_worker(self, reading, settings):
        """
        A worker's main process serves metrics if the worker reads our queue.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"METRICS_PORT": free_port()}
        before = {*threading.enumerate()}
        tasks.listen_when_ready(Consumer(app))
        assert {*threading.enumerate()} <= before
        tasks.listen_when_ready(Consumer(reading))
        wait_until(lambda: answers(settings.PILLARBOX["METRICS_PORT"]), "it serves metrics")

    def test_of_daphne(self):
        """
        Daphne reports its sockets, subscriptions and channel layer; without sockets the layer is unknown.
        """
        assert {"sockets": 0, "subscriptions": 0, "layer": None} == facts()


def test_a_relay_without_reporter(relay):
    """
    A relay without a reporter isn't reported.
    """
    assert isinstance(relay, Relay)
    relay.try_to_drain()
    assert not NotificationOutbox.objects.pending().exists()
    assert not Process.objects.exists()
