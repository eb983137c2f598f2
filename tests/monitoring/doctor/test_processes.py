"""Tests of the doctor's checks of workers, beat and Daphne, and of the flow between them."""

import re
import threading

import pytest

from pillarbox.conf import PillarboxSettings
from pillarbox.monitoring.doctor import flow
from pillarbox.monitoring.problems import CHECKS, NAMES
from pillarbox.relay import celery_wake_ups, wake_ups
from tests.waiting import PATIENCE, wait_until
from workers.app import app

from .situations import ago, falls_silent, found, lives, look, one, sql

pytestmark = pytest.mark.django_db(transaction=True)


class TestProcesses:
    @pytest.mark.parametrize("kind", CHECKS)
    def test_no_process(self, kind):
        """
        If no process of a kind is alive, the finding says when the last one reported.
        """
        assert [f"No {NAMES[kind]} runs."] == found(look(CHECKS[kind]))
        falls_silent(kind)
        finding = one(look(CHECKS[kind]))
        words = rf"No {NAMES[kind]} runs; the last one reported (\d+) s ago\."
        assert int(re.fullmatch(words, finding.what)[1]) >= 60
        assert finding.is_grave

    @pytest.mark.parametrize("kind", CHECKS)
    def test_one_of_two(self, kind):
        """
        If one of two processes stopped reporting, a warning names it.
        """
        falls_silent(kind, name="a")
        lives(kind, name="b")
        finding = one(look(CHECKS[kind]))
        words = rf"Reported in the last hour, but no longer: {kind}@a \((\d+) s ago\)\."
        assert int(re.fullmatch(words, finding.what)[1]) >= 60
        assert not finding.is_grave
        sql("DELETE FROM pillarbox_process WHERE name = %s", f"{kind}@a")
        assert [] == found(look(CHECKS[kind]))

    def test_workers_that_need_no_beat(self, settings):
        """
        `run` sweeps by itself, and needs neither beat nor Celery's messages, which nobody reads.
        """
        lives("worker", swept_at=sql("SELECT now()")[0][0].isoformat(), drained_at=None)
        assert "1 alive" == look("beat")
        assert '"pillarbox", and no worker reads it' in one(flow.workers_wake_up()).what
        settings.PILLARBOX = settings.PILLARBOX | {"WAKE_UP": PillarboxSettings().WAKE_UP}
        assert "not needed" in flow.workers_wake_up()
        assert [] == found(look("sweep"))


class TestFlow:
    def test_sound(self):
        """
        Processes that drained, swept and received lately give no findings.
        """
        now = sql("SELECT now()")[0][0].isoformat()
        lives("worker", breaker=None, drained_at=now)
        lives("beat", broker=None, swept_at=now)
        lives("daphne", sockets=3, subscriptions=7, layer="live")
        assert [] == found(look("relay"))
        assert [] == found(look("sweep"))
        assert "3 sockets with 7 subscriptions" == look("sockets")

    def test_just_started(self):
        """
        Processes that have just started give no findings.
        """
        lives("worker", breaker=None, drained_at=None)
        lives("beat", broker=None, swept_at=None)
        assert [] == found(look("relay"))
        assert [] == found(look("sweep"))

    @pytest.mark.parametrize(
        ("check", "kind", "fact", "words"),
        [
            (
                "relay",
                "worker",
                "drained_at",
                r"No worker has drained for (\d+) s",
            ),
            ("sweep", "beat", "swept_at", r"has not swept for (\d+) s"),
        ],
    )
    def test_alive_and_idle(self, check, kind, fact, words):
        """
        A live process that hasn't done its work for a while is a finding.
        """
        lives("beat")
        lives(kind, **{fact: ago(60)}, at=ago())
        assert int(re.search(words, one(look(check)).what)[1]) >= 60

    @pytest.mark.parametrize(
        ("check", "kind", "fact"),
        [("relay", "worker", "drained_at"), ("sweep", "beat", "swept_at")],
    )
    def test_of_another_host_whose_clock_is_wrong(self, check, kind, fact):
        """
        A process's times are compared with each other, as on the dashboard, not with this host's clock.
        """
        lives("beat")
        lives(kind, **{fact: ago(601)}, at=ago(600))
        assert [] == found(look(check))
        lives(kind, **{fact: ago(-540)}, at=ago(-600))
        assert re.search(r"for (\d\d+ s|[234] min)", one(look(check)).what)

    @pytest.mark.parametrize(
        ("check", "kind", "facts", "words"),
        [
            ("relay", "worker", {"breaker": "refused"}, "can't reach the channel layer (refused)"),
            ("sweep", "beat", {"broker": "refused"}, "can't reach the broker (refused)"),
            (
                "sockets",
                "daphne",
                {"layer": "away"},
                "can't reach the channel layer",
            ),
        ],
    )
    def test_alive_and_disconnected(self, check, kind, facts, words):
        """
        A process that can't reach Redis or the broker is named, though this host can.
        """
        lives(kind, name="far-away", **facts)
        finding = one(look(check))
        assert "far-away" in finding.what
        assert words in finding.what

    def test_wake_up(self, monkeypatch):
        """
        A wake-up that a worker clears is fine; one that no worker clears is a finding.
        """
        lives("worker")
        celery_wake_ups.clear_request()
        worker = threading.Thread(target=clear_when_requested)
        worker.start()
        monkeypatch.setattr(flow, "WAKE_UP_SECONDS", PATIENCE)
        assert "a worker responded" in flow.workers_wake_up()
        worker.join()
        monkeypatch.setattr(flow, "WAKE_UP_SECONDS", 0.1)
        finding = one(flow.workers_wake_up())
        celery_wake_ups.clear_request()
        with app.pool.acquire(block=True) as broker:
            app.amqp.queues["pillarbox"](broker.default_channel).purge()
        assert "no worker came" in finding.what

    def test_wake_up_without_redis(self, settings, monkeypatch):
        """
        If Redis accepts no wake-up, that is the finding, and not a worker's response.
        """
        lives("worker")
        monkeypatch.setattr(flow, "WAKE_UP_SECONDS", 0.1)
        settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": "redis://127.0.0.1:1"}
        wake_ups._redis.cache_clear()
        assert "Redis accepted no wake-up" in one(flow.workers_wake_up()).what

    def test_wake_up_of_nobody(self, settings):
        """
        An empty setting is a finding for each kind of workers, since commits wake none.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"WAKE_UP": ""}
        for facts in ({}, {"swept_at": "now"}):
            lives("worker", **facts)
            assert "Commits wake up no worker" in one(flow.workers_wake_up()).what

    def test_wake_up_that_is_not_set(self, settings):
        """
        Celery's workers, which no commit wakes, are a finding that names the setting.
        """
        lives("worker")
        settings.PILLARBOX = settings.PILLARBOX | {"WAKE_UP": PillarboxSettings().WAKE_UP}
        assert 'PILLARBOX["WAKE_UP"] =' in one(flow.workers_wake_up()).cure


def clear_when_requested():
    """Clear the wake-up as soon as it is requested, as a worker does."""
    wait_until(celery_wake_ups.is_requested, "a wake-up is requested")
    celery_wake_ups.clear_request()
