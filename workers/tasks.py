"""The tasks. They carry nothing: what there is to do is in the outbox."""

from functools import lru_cache
from typing import Any

from celery.signals import worker_process_init, worker_process_shutdown, worker_ready
from django.db import DEFAULT_DB_ALIAS, close_old_connections

from apps.outbox.instances import forget
from apps.outbox.minutes import count_minutes
from apps.outbox.replay import carry_out_all
from apps.outbox.retention import prune

from . import bell
from .app import app
from .listener import listen
from .relay import Relay
from .reports import Reporter

#: A task is cut short after so long, and another asked for: a worker that is told to stop stops soon, and
#: other tasks have their turn.
TASK_SECONDS = 1.0


@app.task(name="outbox.drain")
def drain() -> None:
    """Publish what is due."""
    bell.clear()
    if _relay().try_to_drain(seconds=TASK_SECONDS).is_cut_short:
        bell.ring(DEFAULT_DB_ALIAS)


@app.task(name="outbox.prune")
def prune_outbox() -> None:
    """Delete published rows past their retention."""
    close_old_connections()
    if prune(using=DEFAULT_DB_ALIAS, seconds=TASK_SECONDS).is_cut_short:
        prune_outbox.apply_async(retry=False)


@app.task(name="outbox.count")
def count() -> None:
    """Count the minutes that are over, and forget who has not been heard of for long."""
    close_old_connections()
    forget(using=DEFAULT_DB_ALIAS)
    if count_minutes(using=DEFAULT_DB_ALIAS, seconds=TASK_SECONDS).is_cut_short:
        count.apply_async(retry=False)


@app.task(name="outbox.replay")
def replay() -> None:
    """Carry out what operators decided to announce again."""
    close_old_connections()
    if carry_out_all(using=DEFAULT_DB_ALIAS, seconds=TASK_SECONDS):
        replay.apply_async(retry=False)


@worker_ready.connect
def listen_when_ready(**_: Any) -> None:
    """Called in the worker, which has its children then."""
    listen()


@lru_cache
def _relay() -> Relay:
    # One for each process, so that its connections to the channel layer outlive the task.
    return Relay(using=DEFAULT_DB_ALIAS)


@lru_cache
def _reporter() -> Reporter:
    return Reporter("worker", _relay().facts)


@worker_process_init.connect
def start_reporting(**_: Any) -> None:
    """Called in each of the worker's processes when it begins."""
    _reporter().start()


@worker_process_shutdown.connect
def stop_reporting(**_: Any) -> None:
    """Called in each of the worker's processes when it ends in order."""
    _reporter().stop()
