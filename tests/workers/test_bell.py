"""The bell: one message for a worker, however many ring; and never the save's fault."""

import os
import subprocess
import sys
import time

import pytest
from django.conf import settings as django_settings

from tests.metrics import Metric
from tests.rig.proxy import Proxy
from workers import bell
from workers.app import app

REDIS_URL = django_settings.REDIS_URL


def waiting():
    """Return how many messages wait for a worker."""
    with app.pool.acquire(block=True) as connection:
        return bell.waiting(app, connection)


@pytest.fixture(autouse=True)
def quiet():
    """An empty queue and a silent bell, before and after."""

    def quieten():
        with app.pool.acquire(block=True) as connection:
            app.amqp.queues["outbox"](connection.default_channel).purge()
        bell.clear()
        bell._redis.cache_clear()
        bell._away_until = 0.0

    quieten()
    yield
    quieten()


def test_rings_once_until_it_is_cleared():
    """
    Of many rings one message comes; after a worker cleared the bell, one more.
    """
    for _ in range(3):
        bell.ring("default")
    assert 1 == waiting()
    bell.clear()
    bell.ring("default")
    assert 2 == waiting()


def test_sweeps_do_not_queue_up():
    """
    An absent worker finds one message, not one for each sweep.
    """
    assert [True, False, False] == [bell.sweep(app) for _ in range(3)]
    assert 1 == waiting()


def test_a_sweep_does_not_mind_the_bell():
    """
    A bell whose message got lost is made good by the next sweep.
    """
    bell._redis().set(bell.KEY, "default")
    assert bell.sweep(app)
    assert 1 == waiting()


def test_counts_how_it_rang(settings):
    """
    Rung once, ringing after that, and silent where Redis is away, also while nobody asks it.
    """
    bells = {o: Metric("notifier_bells_total", outcome=o) for o in ("rung", "ringing", "silent")}
    for _ in range(3):
        bell.ring("default")
    assert [1, 2, 0] == [metric.grown for metric in bells.values()]
    settings.REDIS_URL = "redis://127.0.0.1:1"
    bell._redis.cache_clear()
    for _ in range(2):
        bell.ring("default")
    assert [0, 0, 2] == [metric.grown for metric in bells.values()]
    settings.REDIS_URL = REDIS_URL


class TestOutage:
    async def test_costs_one_short_wait(self, settings, caplog):
        """
        With Redis refusing or silent, the first ring waits a moment, and the next not at all.
        """
        async with Proxy(django_settings.REDIS_URL) as proxy:
            settings.REDIS_URL = proxy.url
            bell._redis.cache_clear()
            proxy.stall()  # and nobody runs the loop meanwhile: the port is open and silent
            start = time.monotonic()
            for _ in range(50):
                bell.ring("default")
            assert time.monotonic() - start < 2
            bell.clear()
        settings.REDIS_URL = "redis://127.0.0.1:1"
        bell._redis.cache_clear()
        bell._away_until = 0.0
        bell.ring("default")
        bell.clear()
        assert 2 == caplog.text.count("The bell is silent")

    @pytest.mark.parametrize("broker", ["redis://127.0.0.1:1", "amqp://127.0.0.1:1"])
    def test_of_another_broker_costs_one_short_wait(self, broker):
        """
        Where the broker is not the Redis of the bell, and away, a save doesn't wait for it either.
        """
        code = (
            "import time; from workers import bell; bell.clear(); start = time.monotonic()\n"
            "for _ in range(3): bell.ring('default')\n"
            "print(time.monotonic() - start)"
        )
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "-v0", "-c", code],
            cwd=django_settings.BASE_DIR,
            env={**os.environ, "CELERY_BROKER_URL": broker},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "The bell is silent" in done.stderr
        assert float(done.stdout) < 3

    def test_ends_with_the_cool_down(self, settings):
        """
        After the cool-down the bell is tried again.
        """
        settings.REDIS_URL = "redis://127.0.0.1:1"
        bell._redis.cache_clear()
        bell.ring("default")
        settings.REDIS_URL = REDIS_URL
        bell._redis.cache_clear()
        bell._away_until = time.monotonic() - 1
        bell.ring("default")
        assert bell._away_until < time.monotonic()
