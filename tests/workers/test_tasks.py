"""The tasks are thin: they clear the bell, and drain; they prune."""

import inspect
from datetime import timedelta

import pytest
from channels.layers import InMemoryChannelLayer
from django.db.models.functions import Now

from apps.outbox.models import Instance, Minute, NotificationOutbox, Replay
from apps.outbox.replay import BATCH, last_pk
from tests.outbox.rows import many_failed
from workers import bell, tasks
from workers.app import app

pytestmark = pytest.mark.django_db(transaction=True)


class Listening(InMemoryChannelLayer):
    """Notes whether the bell is ringing while something is published."""

    rang: set[int] = set()

    async def group_send(self, group, message):
        self.rang.add(bell._redis().exists(bell.KEY))


def test_drain_publishes_and_clears_the_bell(settings, empty_outbox, ticket):
    """
    What is due is published; what commits after it was read can ring again.
    """
    ticket.title = "Changed"
    ticket.save()
    bell._redis().set(bell.KEY, "default")
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.workers.test_tasks.Listening"}}
    tasks.drain()
    assert {0} == Listening.rang
    tasks._relay().close()
    tasks._relay.cache_clear()
    assert {"published"} == {row.state for row in NotificationOutbox.objects.all()}
    assert not bell._redis().exists(bell.KEY)


@pytest.fixture
def empty_queue():
    """No message waits, and the bell is silent."""
    with app.pool.acquire(block=True) as connection:
        queue = app.amqp.queues["outbox"](connection.default_channel)
        queue.purge()
        bell.clear()
        yield queue
        queue.purge()
        bell.clear()


class TestCutShort:
    """A task that has more to do than its time allows asks for another: a worker told to stop stops."""

    @pytest.fixture(autouse=True)
    def hurry(self, monkeypatch):
        monkeypatch.setattr(tasks, "TASK_SECONDS", 0.0)

    def test_drain(self, empty_outbox, empty_queue, ticket):
        """
        Through the bell, so that there is one message, whoever else rings.
        """
        ticket.title = "Changed"
        ticket.save()
        bell.clear()
        empty_queue.purge()
        tasks.drain()
        tasks._relay().close()
        tasks._relay.cache_clear()
        assert bell.DRAIN == empty_queue.get(no_ack=True).headers["task"]
        bell.ring("default")
        assert 0 == empty_queue.queue_declare().message_count

    def test_count(self, empty_queue):
        """
        Until no minute is missing.
        """
        tasks.count()
        assert "outbox.count" == empty_queue.get(no_ack=True).headers["task"]

    def test_replay(self, empty_queue):
        """
        Batch by batch.
        """
        replay = replay_of(BATCH + 1)
        tasks.replay()
        waiting = [
            message.headers["task"] for message in iter(lambda: empty_queue.get(no_ack=True), None)
        ]
        assert ["outbox.drain", "outbox.replay"] == sorted(waiting)
        tasks.replay()
        tasks.replay()
        replay.refresh_from_db()
        assert replay.finished_at is not None

    def test_prune(self, published, empty_queue):
        """
        Until nothing is left.
        """
        NotificationOutbox.objects.update(published_at=Now() - timedelta(days=8))
        tasks.prune_outbox()
        assert "outbox.prune" == empty_queue.get(no_ack=True).headers["task"]
        tasks.prune_outbox()
        assert 0 == empty_queue.queue_declare().message_count


def replay_of(rows):
    """Return a decision about so many failed rows."""
    many_failed(rows)
    return Replay.objects.create(
        criteria={}, last_pk=last_pk(using="default"), total=rows, by_name="ann", reason="mended"
    )


def test_replay_carries_out_what_was_decided(db):
    """
    Whatever is not carried out yet is, and rings the bell.
    """
    bell.clear()
    replay = replay_of(1)
    tasks.replay()
    replay.refresh_from_db()
    assert (1, True) == (replay.announced, replay.finished_at is not None)
    assert bell._redis().exists(bell.KEY)


def test_a_decision_asks_for_a_worker(empty_queue):
    """
    After its commit; while the broker is away it fails nothing, since beat asks, too.
    """
    bell.ask_for_replay("default")
    assert "outbox.replay" == empty_queue.get(no_ack=True).headers["task"]


def test_prune_drops_what_is_old(published):
    """
    Past their retention published rows are deleted.
    """
    NotificationOutbox.objects.update(published_at=Now() - timedelta(days=8))
    tasks.prune_outbox()
    assert not NotificationOutbox.objects.exists()


def test_count_counts_and_forgets(published, monkeypatch):
    """
    The minutes that are over are counted, and processes of long ago forgotten.
    """
    Instance.objects.create(name="x", kind="worker", seen_at=Now() - timedelta(days=2))
    monkeypatch.setattr(tasks, "TASK_SECONDS", 300.0)
    tasks.count()
    assert 1440 <= Minute.objects.count()
    assert not Instance.objects.exists()


def test_what_beat_schedules_exists():
    """
    Each entry of the schedule is a task, or the sweep, which beat's scheduler knows itself.
    """
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert {"outbox.sweep"} == scheduled - set(app.tasks)


def test_tasks_carry_nothing():
    """
    A task has no arguments: what there is to do is in the outbox.
    """
    for name in (bell.DRAIN, bell.REPLAY, "outbox.count", "outbox.prune"):
        assert not inspect.signature(app.tasks[name].run).parameters
