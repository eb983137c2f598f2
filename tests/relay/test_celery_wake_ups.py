"""Tests of wake-ups: one message for many requests, and no save that fails or waits long for them."""

import os
import subprocess
import sys

import pytest
import redis
from celery import Celery, current_app
from django.conf import settings as django_settings

from pillarbox.relay import celery_wake_ups, wake_ups
from pillarbox.relay.breaker import Breaker
from tests.metrics import Metric
from tests.rig.proxy import Proxy
from tests.servers import are_embedded
from tests.waiting import PATIENCE, wait_until
from workers.app import app

REDIS_URL = django_settings.REDIS_URL


def queued():
    """Return the number of messages in the workers' queue."""
    with app.pool.acquire(block=True) as connection:
        return celery_wake_ups.queued(app, connection)


def send_sweep():
    return celery_wake_ups.send_unless_queued(app, celery_wake_ups.DRAIN, most=0)


@pytest.fixture(autouse=True)
def quiet():
    """Empty the queue, and clear the requested wake-up, before and after."""

    def quieten():
        with app.pool.acquire(block=True) as connection:
            app.amqp.queues["pillarbox"](connection.default_channel).purge()
        celery_wake_ups.clear_request()
        wake_ups._redis.cache_clear()
        wake_ups._breaker.succeed()

    quieten()
    yield
    quieten()


def test_sends_one_message_until_cleared():
    """
    Several requests send one message; after a clear, the next request sends another.
    """
    for _ in range(3):
        celery_wake_ups.wake_up("default")
    assert 1 == queued()
    celery_wake_ups.clear_request()
    celery_wake_ups.wake_up("default")
    assert 2 == queued()


def test_sweeps_do_not_queue_up():
    """
    An absent worker finds one message, not one for each sweep.
    """
    assert [True, False, False] == [send_sweep() for _ in range(3)]
    assert 1 == queued()


def test_a_sweep_ignores_the_requested_wake_up():
    """
    A sweep makes up for a requested wake-up whose message was lost.
    """
    wake_ups._redis().set(celery_wake_ups.KEY, "default")
    assert send_sweep()
    assert 1 == queued()


def test_counts_wake_ups_by_outcome(settings):
    """
    Wake-ups count as sent, as already requested, or as failed, also during the cool-down.
    """
    counted = [Metric("notifier_bells_total", outcome=o) for o in ("rung", "ringing", "silent")]
    for _ in range(3):
        celery_wake_ups.wake_up("default")
    assert [1, 2, 0] == [metric.grown for metric in counted]
    settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": "redis://127.0.0.1:1"}
    wake_ups._redis.cache_clear()
    for _ in range(2):
        celery_wake_ups.wake_up("default")
    assert [0, 0, 2] == [metric.grown for metric in counted]
    settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": REDIS_URL}


def test_the_app_is_the_named_one_or_the_current_one(settings):
    """
    A project names its Celery app by a dotted path, or imports it early.
    """
    assert app is celery_wake_ups.celery_app()
    settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": ""}
    assert current_app is celery_wake_ups.celery_app()


@pytest.mark.skipif(not are_embedded(), reason="it turns Redis into a replica, which may be yours")
def test_a_replica_is_left(caplog):
    """
    If Redis has become a replica, no connection to it is used again, neither for wake-ups nor to the broker.
    """
    with redis.Redis.from_url(REDIS_URL) as server:
        celery_wake_ups.wake_up("default")
        celery_wake_ups.clear_request()
        with celery_wake_ups._producer(app) as producer:
            broker = producer.connection.default_channel.client
            used = {str(client.client_id()) for client in (wake_ups._redis(), broker)}
        assert 2 == len(used)
        assert used < {each["id"] for each in server.client_list()}
        server.replicaof("127.0.0.1", 1)
        try:
            celery_wake_ups.wake_up("default")
            with pytest.raises(redis.ReadOnlyError):
                celery_wake_ups.send(app, celery_wake_ups.DRAIN)
            wait_until(
                lambda: used.isdisjoint(each["id"] for each in server.client_list()), "all are left"
            )
        finally:
            server.replicaof("NO", "ONE")
    assert "read only replica" in caplog.text
    celery_wake_ups.send(app, celery_wake_ups.DRAIN)


def test_a_sentinel_that_is_away_costs_little_time():
    """
    The project's options for sentinels stay, but for the time that a save may wait.
    """
    with Celery("behind", broker="sentinel://127.0.0.1:1", set_as_current=False) as behind:
        for given in (None, {"password": "word", "socket_timeout": 60}):
            behind.conf.broker_transport_options = {"master_name": "a", "sentinel_kwargs": given}
            celery_wake_ups._producers.cache_clear()
            with celery_wake_ups._producer(behind) as producer:
                options = producer.connection.transport_options["sentinel_kwargs"]
            assert 0.2 == options["socket_timeout"]
            assert (given or {}).get("password") == options.get("password")


class TestOutage:
    async def test_costs_one_short_wait(self, settings, caplog, monkeypatch):
        """
        If Redis refuses or hangs, the first request waits for a moment, and the next ones don't.
        """
        monkeypatch.setattr(wake_ups, "ANSWER_SECONDS", 0.2)
        breaker = Breaker(first=PATIENCE, longest=PATIENCE, jitter=lambda: 1.0)
        monkeypatch.setattr(wake_ups, "_breaker", breaker)
        async with Proxy(django_settings.REDIS_URL) as proxy:
            settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": proxy.url}
            wake_ups._redis.cache_clear()
            proxy.stall()  # the port is open and silent, since the loop doesn't run meanwhile
            for _ in range(50):
                celery_wake_ups.wake_up("default")
            assert 1 == caplog.text.count("No worker is woken")  # Redis wasn't asked again
            celery_wake_ups.clear_request()
        settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": "redis://127.0.0.1:1"}
        wake_ups._redis.cache_clear()
        breaker.succeed()
        celery_wake_ups.wake_up("default")
        celery_wake_ups.clear_request()
        assert 2 == caplog.text.count("No worker is woken")

    @pytest.mark.parametrize("broker", ["redis://127.0.0.1:1", "amqp://127.0.0.1:1"])
    def test_of_another_broker_costs_one_short_wait(self, broker):
        """
        A broker apart from Redis that is away doesn't delay saves either. No wake-up stays requested, for
        which there is no message.
        """
        code = (
            "from pillarbox.relay import breaker, celery_wake_ups as celery, wake_ups as ups\n"
            f"ups._breaker = breaker.Breaker(first={PATIENCE}, longest={PATIENCE}, jitter=lambda: 1.0)\n"
            "celery.clear_request()\nfor _ in range(3): celery.wake_up('default')\n"
            "print(celery.is_requested())"
        )
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "-v0", "-c", code],
            cwd=django_settings.BASE_DIR,
            env={**os.environ, "CELERY_BROKER_URL": broker},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        assert 1 == done.stderr.count("No worker is woken")
        assert "False\n" == done.stdout

    def test_ends_with_the_cool_down(self, settings, monkeypatch):
        """
        After the cool-down Redis is tried again.
        """
        now = 0.0
        monkeypatch.setattr(wake_ups, "_breaker", Breaker(clock=lambda: now, jitter=lambda: 1.0))
        settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": "redis://127.0.0.1:1"}
        wake_ups._redis.cache_clear()
        celery_wake_ups.wake_up("default")
        settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": REDIS_URL}
        wake_ups._redis.cache_clear()
        celery_wake_ups.wake_up("default")
        assert 0 == queued()
        now = wake_ups.COOL_DOWN_SECONDS
        celery_wake_ups.wake_up("default")
        assert 1 == queued()
