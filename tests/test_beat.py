"""Tests of beat: our entries in any scheduler, and a scheduler of ours that bears a clock that is set."""

import atexit
from datetime import timedelta

import pytest
from celery import Celery
from celery.beat import ScheduleEntry, Scheduler, Service
from celery.signals import beat_init
from django.db import DEFAULT_DB_ALIAS

from pillarbox import tasks
from pillarbox.beat import SweepScheduler
from pillarbox.monitoring.processes import known
from tests.waiting import wait_until
from workers.app import app

SWEEP, PRUNE = tasks.drain.name, tasks.prune_outbox.name


@pytest.fixture(params=[Scheduler, SweepScheduler])
def scheduler(request):
    return request.param(app=app, lazy=True)


@pytest.fixture(autouse=True)
def empty():
    tasks._sweeps.cache_clear()
    with app.pool.acquire(block=True) as connection:
        queue = app.amqp.queues["pillarbox"](connection.default_channel)
        queue.purge()
        yield queue
        queue.purge()


def entry(task, celery=app):
    return ScheduleEntry(name=task, task=task, schedule=1.0, app=celery)


def test_an_absent_worker_finds_two_messages(scheduler, empty):
    """
    An absent worker finds one drain and one prune, however long it was away.
    """
    for _ in range(3):
        scheduler.apply_entry(entry(SWEEP))
        scheduler.apply_entry(entry(PRUNE))
    assert 2 == empty.queue_declare().message_count
    found = [empty.get(no_ack=True).headers["task"] for _ in range(2)]
    assert [SWEEP, PRUNE] == found


def test_an_outage_is_logged_once(caplog):
    """
    Beat goes on while the broker is away, and logs each outage once.
    """
    with Celery("away", broker="redis://127.0.0.1:1", set_as_current=False) as away:
        scheduler = Scheduler(app=away, lazy=True)
        for _ in range(2):
            scheduler.apply_entry(entry(SWEEP, away))
        assert 1 == caplog.text.count("The broker is away")
        assert "Message Error" not in caplog.text
    assert tasks._sweeps().facts()["broker"]
    Scheduler(app=app, lazy=True).apply_entry(entry(SWEEP))
    said = tasks._sweeps().facts()
    assert (None, True) == (said["broker"], said["swept_at"] is not None)


@pytest.mark.django_db(transaction=True)
def test_it_is_reported_if_it_sweeps(tmp_path):
    """
    Beat reports itself until it ends, with any scheduler, unless the project's schedule is without us.
    """
    for celery in (Celery("theirs", set_as_current=False), app):
        assert [] == beats()
        service = Service(celery, schedule_filename=str(tmp_path / celery.main))
        beat_init.send(sender=service)
        service.scheduler.close()
    wait_until(beats, "beat reports")
    (said,) = beats()
    assert {**said, "swept_at": None, "broker": None} == said
    tasks._beat_reporter().stop()
    assert [] == beats()
    atexit.unregister(tasks._beat_reporter().stop)
    tasks._beat_reporter.cache_clear()


def beats():
    return [each.facts for each in known(using=DEFAULT_DB_ALIAS) if each.kind == "beat"]


@pytest.mark.parametrize("hours", [1, -1])
def test_goes_on_when_the_clock_is_set(empty, hours):
    """
    After the clock was set back or forward by an hour, beat still sweeps at once.
    """
    scheduler = SweepScheduler(app=app, lazy=True)
    scheduler.merge_inplace({SWEEP: {"task": SWEEP, "schedule": 0.01}})
    scheduler.tick()
    scheduler._offset += hours * 3600
    scheduler.schedule[SWEEP].last_run_at += timedelta(hours=hours)
    scheduler.populate_heap()
    wait_until(lambda: [scheduler.tick()] and empty.queue_declare().message_count, "it sweeps")
