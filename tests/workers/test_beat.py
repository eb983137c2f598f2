"""Beat's scheduler sweeps through the bell, and says once when the broker is away."""

import pytest
from celery import Celery
from celery.beat import ScheduleEntry

from workers import bell
from workers.app import app
from workers.beat import BellScheduler
from workers.tasks import prune_outbox

SWEEP, PRUNE = "outbox.sweep", prune_outbox.name


@pytest.fixture
def scheduler():
    return BellScheduler(app=app, lazy=True)


@pytest.fixture(autouse=True)
def empty():
    with app.pool.acquire(block=True) as connection:
        queue = app.amqp.queues["outbox"](connection.default_channel)
        queue.purge()
        yield queue
        queue.purge()


def entry(task):
    return ScheduleEntry(name=task, task=task, schedule=1.0, app=app)


def test_sweeps_leave_one_message(scheduler, empty):
    """
    However often it sweeps, one message waits.
    """
    for _ in range(3):
        scheduler.apply_entry(entry(SWEEP))
    assert 1 == empty.queue_declare().message_count


def test_an_absent_worker_finds_two_messages(scheduler, empty):
    """
    However long it was away: one to drain, one to prune.
    """
    for _ in range(3):
        scheduler.apply_entry(entry(SWEEP))
        scheduler.apply_entry(entry(PRUNE))
    assert 2 == empty.queue_declare().message_count
    drain, prune = (empty.get(no_ack=True).headers["task"] for _ in range(2))
    assert (bell.DRAIN, PRUNE) == (drain, prune)


def test_an_outage_is_said_once(caplog):
    """
    While the broker is away beat goes on, and the log says it once for each outage.
    """
    with Celery("away", broker="redis://127.0.0.1:1") as away:
        away.conf.broker_connection_timeout = 0.1
        away.conf.task_default_queue = "outbox"
        scheduler = BellScheduler(app=away, lazy=True)
        for _ in range(2):
            scheduler.apply_entry(entry(SWEEP))
        assert 1 == caplog.text.count("The broker is away")
    scheduler.app = app
    scheduler.apply_entry(entry(SWEEP))
    assert scheduler.broker is None
