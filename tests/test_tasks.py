"""Tests of the Celery tasks."""

import inspect
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from types import SimpleNamespace

import pytest
from celery import Celery
from channels.layers import InMemoryChannelLayer
from django.db import connections
from django.db.models.functions import Now

from pillarbox import tasks
from pillarbox.exceptions import RegistrationError
from pillarbox.models import MinuteCounts, NotificationOutbox, Process, Replay
from pillarbox.relay import celery_wake_ups, wake_ups
from pillarbox.replay.decisions import last_pk
from pillarbox.replay.replay import BATCH
from pillarbox.schedule import beat_entries
from pillarbox.types import refusals
from tests.announcing import announce
from tests.layers import BlockingLayer
from tests.rows import many_failed
from tests.waiting import PATIENCE, wait_until
from workers.app import app

pytestmark = pytest.mark.django_db(transaction=True)


class Listening(InMemoryChannelLayer):
    """A layer that records whether a wake-up is still requested during publishing."""

    requested: set[int] = set()

    async def group_send(self, group, message):
        self.requested.add(wake_ups._redis().exists(celery_wake_ups.KEY))


def test_drain_publishes_and_clears_the_wake_up(settings, empty_outbox, ticket):
    """
    A drain publishes due rows; it clears the wake-up first, so later commits request another.
    """
    ticket.title = "Changed"
    ticket.save()
    wake_ups._redis().set(celery_wake_ups.KEY, "default")
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.test_tasks.Listening"}}
    tasks.drain()
    assert {0} == Listening.requested
    tasks._relay().close()
    tasks._relay.cache_clear()
    assert {"published"} == {row.state for row in NotificationOutbox.objects.all()}
    assert not wake_ups._redis().exists(celery_wake_ups.KEY)


@pytest.mark.usefixtures("empty_outbox")
def test_threads_drain_one_after_the_other(settings, monkeypatch):
    """
    One thread drains, and one waits for it. Others return, and leave their wake-up to the waiting one.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.BlockingLayer"}}
    monkeypatch.setattr(tasks, "TASK_SECONDS", PATIENCE)
    publishes, may_go_on = Event(), Event()
    monkeypatch.setattr(BlockingLayer, "until", lambda: publishes.set() or may_go_on.is_set())
    with ThreadPoolExecutor(3) as threads:
        announce()
        first = threads.submit(drain_in_thread)
        assert publishes.wait(PATIENCE)
        waiting = threads.submit(drain_in_thread)
        wait_until(tasks._next.locked, "a thread waits")
        announce()
        wake_ups._redis().set(celery_wake_ups.KEY, "default")
        threads.submit(drain_in_thread).result(PATIENCE)
        assert celery_wake_ups.is_requested()
        assert [False, False] == [first.done(), waiting.done()]
        may_go_on.set()
        for one in (first, waiting):
            one.result(PATIENCE)
    assert not celery_wake_ups.is_requested()
    rows = NotificationOutbox.objects.all()
    assert [("published", 1)] * 2 == [(row.state, row.claims) for row in rows]
    tasks._relay().close()
    tasks._relay.cache_clear()


def drain_in_thread():
    """Drain in a thread that keeps no connection."""
    tasks.drain()
    connections.close_all()


@pytest.fixture
def empty_queue():
    """Empty the queue, and clear the requested wake-up, before and after."""
    with app.pool.acquire(block=True) as connection:
        queue = app.amqp.queues["pillarbox"](connection.default_channel)
        queue.purge()
        celery_wake_ups.clear_request()
        yield queue
        queue.purge()
        celery_wake_ups.clear_request()


class TestCutShort:
    """A task that is cut short sends itself again, so a worker stops soon after SIGTERM."""

    @pytest.fixture(autouse=True)
    def hurry(self, monkeypatch):
        monkeypatch.setattr(tasks, "TASK_SECONDS", 0.0)

    def test_drain(self, empty_outbox, empty_queue, ticket):
        """
        A drain that is cut short requests a wake-up, so other requests add no message.
        """
        ticket.title = "Changed"
        ticket.save()
        celery_wake_ups.clear_request()
        empty_queue.purge()
        tasks.drain()
        tasks._relay().close()
        tasks._relay.cache_clear()
        assert celery_wake_ups.DRAIN == empty_queue.get(no_ack=True).headers["task"]
        celery_wake_ups.wake_up("default")
        assert 0 == empty_queue.queue_declare().message_count

    def test_count(self, empty_queue):
        """
        Counting is sent again until every minute is counted.
        """
        tasks.count()
        assert "pillarbox.count" == empty_queue.get(no_ack=True).headers["task"]

    def test_replay(self, empty_queue):
        """
        A replay is carried out batch by batch.
        """
        replay = replay_of(BATCH + 1)
        tasks.replay()
        waiting = [
            message.headers["task"] for message in iter(lambda: empty_queue.get(no_ack=True), None)
        ]
        assert ["pillarbox.drain", "pillarbox.replay"] == sorted(waiting)
        tasks.replay()
        tasks.replay()
        replay.refresh_from_db()
        assert replay.finished_at is not None

    def test_prune(self, published, empty_queue):
        """
        Pruning is sent again until no old row is left.
        """
        NotificationOutbox.objects.update(published_at=Now() - timedelta(days=8))
        tasks.prune_outbox()
        assert "pillarbox.prune" == empty_queue.get(no_ack=True).headers["task"]
        tasks.prune_outbox()
        assert 0 == empty_queue.queue_declare().message_count


def replay_of(rows):
    """Create a replay of so many failed rows."""
    many_failed(rows)
    return Replay.objects.create(
        criteria={}, last_pk=last_pk(using="default"), total=rows, by_name="ann", reason="mended"
    )


def test_replays_are_carried_out(db):
    """
    Requested replays are carried out, and a wake-up is requested.
    """
    celery_wake_ups.clear_request()
    replay = replay_of(1)
    tasks.replay()
    replay.refresh_from_db()
    assert (1, True) == (replay.announced, replay.finished_at is not None)
    assert wake_ups._redis().exists(celery_wake_ups.KEY)


def test_a_new_replay_sends_its_task(empty_queue):
    """
    A new replay sends its task at once.
    """
    celery_wake_ups.request_replay("default")
    assert "pillarbox.replay" == empty_queue.get(no_ack=True).headers["task"]


def test_a_worker_of_another_queue_starts(monkeypatch):
    """
    If a registration was refused, only workers that read our queue end before they start.
    """
    monkeypatch.setattr(refusals, "refusals", [RegistrationError("It is wrong.")])
    with Celery("project", set_as_current=False) as celery:
        tasks.require_types(SimpleNamespace(app=celery))
        celery.amqp.queues.select("pillarbox")
        with pytest.raises(SystemExit, match=r"It is wrong\."):
            tasks.require_types(SimpleNamespace(app=celery))


def test_old_rows_are_pruned(published):
    """
    Published rows past their retention are deleted.
    """
    NotificationOutbox.objects.update(published_at=Now() - timedelta(days=8))
    tasks.prune_outbox()
    assert not NotificationOutbox.objects.exists()


def test_count_counts_and_forgets(published, monkeypatch):
    """
    Past minutes are counted, and processes that stopped long ago are forgotten.
    """
    Process.objects.create(name="x", kind="worker", seen_at=Now() - timedelta(days=2))
    monkeypatch.setattr(tasks, "TASK_SECONDS", 300.0)
    tasks.count()
    assert 1440 <= MinuteCounts.objects.count()
    assert not Process.objects.exists()


def test_all_tasks_are_scheduled():
    """
    Each task is in the schedule.
    """
    scheduled = {entry["task"] for entry in beat_entries().values()}
    assert {name for name in app.tasks if name.startswith("pillarbox.")} == scheduled


def test_tasks_have_no_arguments():
    """
    Tasks have no arguments: their work is in the outbox.
    """
    for name in (
        celery_wake_ups.DRAIN,
        celery_wake_ups.REPLAY,
        "pillarbox.count",
        "pillarbox.prune",
    ):
        assert not inspect.signature(app.tasks[name].run).parameters
