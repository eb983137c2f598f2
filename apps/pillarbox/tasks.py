"""
The Celery tasks. They have no arguments: their work is in the outbox.

They are guests of the project's Celery app. Its other workers and its beat load this module, too.
"""

import atexit
import sys
from functools import lru_cache
from threading import Lock
from typing import Any

from celery import Celery, Task, current_app, shared_task
from celery.concurrency import prefork, solo, thread
from celery.signals import (
    beat_init,
    celeryd_after_setup,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
)
from django.db import DEFAULT_DB_ALIAS

from .conf import pillarbox_settings
from .database import close_stale_connections
from .exceptions import RegistrationError
from .logs import get_logger
from .monitoring.minute_counts import count_minutes
from .monitoring.probes.listener import listen
from .monitoring.processes import forget
from .monitoring.reporter import Reporter
from .relay import celery_wake_ups
from .relay.relay import Relay
from .relay.sweeps import Sweeps
from .replay.replay import carry_out_all
from .stream.retention import prune
from .types.refusals import require_registrations

logger = get_logger(__name__)

#: The pools in which our tasks work.
POOLS = (prefork.TaskPool, thread.TaskPool, solo.TaskPool)
#: A task is cut short after this long, and sent again, so that a worker stops soon after SIGTERM, and other
#: tasks get their turn.
TASK_SECONDS = 1.0
#: Celery has no value for "no limit". A batch that hangs is ended by the watchdog, long before.
NO_LIMIT_SECONDS = 86_400

#: Held by the thread that drains, and by the one that drains next. Threads share the process's relay, since
#: several relays publish no faster.
_draining, _next = Lock(), Lock()


class OutboxTask(Task):  # type: ignore[type-arg]
    """A task whose behaviour the project's defaults and annotations don't change."""

    abstract = True
    # None would be the project's default.
    rate_limit = "0"  # no limit
    ignore_result = True
    store_errors_even_if_ignored = False
    acks_late = False
    time_limit = soft_time_limit = NO_LIMIT_SECONDS

    @classmethod
    def annotate(cls) -> None:
        """Called when the task is bound to an app. The app's ``task_annotations`` are ignored."""

    def apply_async(self, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Called by beat. Sends the task to our queue, unless messages wait there; never runs it here."""
        _sweeps().send(self.app, str(self.name))

    def send_again(self) -> None:
        """Send the task whose run was cut short. Raises the broker's own error if the broker is away."""
        celery_wake_ups.send(celery_wake_ups.celery_app(), str(self.name))


@shared_task(base=OutboxTask, name="pillarbox.drain")
def drain() -> None:
    """Publish due rows. If another thread does, wait for it; if one waits already, return at once."""
    # The waiting thread has read nothing yet, so it finds the rows of this wake-up, too.
    if not _next.acquire(blocking=False):
        return
    with _draining:
        _next.release()
        celery_wake_ups.clear_request()
        if _relay().try_to_drain(seconds=TASK_SECONDS).is_cut_short:
            celery_wake_ups.wake_up(DEFAULT_DB_ALIAS)


@shared_task(base=OutboxTask, name="pillarbox.prune")
def prune_outbox() -> None:
    """Delete published rows past their retention."""
    close_stale_connections()
    if prune(using=DEFAULT_DB_ALIAS, seconds=TASK_SECONDS).is_cut_short:
        prune_outbox.send_again()


@shared_task(base=OutboxTask, name="pillarbox.count")
def count() -> None:
    """Write the per-minute counts of past minutes, and forget processes that stopped reporting long ago."""
    close_stale_connections()
    forget(using=DEFAULT_DB_ALIAS)
    if count_minutes(using=DEFAULT_DB_ALIAS, seconds=TASK_SECONDS).is_cut_short:
        count.send_again()


@shared_task(base=OutboxTask, name="pillarbox.replay")
def replay() -> None:
    """Carry out the replays that operators requested."""
    close_stale_connections()
    if carry_out_all(using=DEFAULT_DB_ALIAS, seconds=TASK_SECONDS):
        replay.send_again()


@lru_cache
def _sweeps() -> Sweeps:
    return Sweeps()


@lru_cache
def _relay() -> Relay:
    # One for each process, so that the connections to the channel layer outlive the task.
    return Relay(using=DEFAULT_DB_ALIAS, ends_process=True)


@lru_cache
def _reporter() -> Reporter:
    return Reporter("worker", _relay().facts)


@lru_cache
def _beat_reporter() -> Reporter:
    return Reporter("beat", _sweeps().facts)


def _reads_our_queue(celery: Celery) -> bool:
    return pillarbox_settings().CELERY_QUEUE in celery.amqp.queues.consume_from


@celeryd_after_setup.connect
def refuse_other_pools(instance: Any, **_: Any) -> None:
    """Called before a worker starts. Ends it if it reads our queue, and our tasks don't work in its pool."""
    if _reads_our_queue(instance.app) and not issubclass(instance.pool_cls, POOLS):
        logger.critical(
            "The tasks of the queue %s don't work in the pool %s. Start this worker with --pool prefork, "
            "threads or solo, or without the queue.",
            pillarbox_settings().CELERY_QUEUE,
            instance.pool_cls.__module__,
            extra={"action": "pool_refused"},
        )
        raise SystemExit(1)


@worker_init.connect
def require_types(sender: Any, **_: Any) -> None:
    """Called before a worker starts. Ends it if a registration was refused: Celery shows no system checks."""
    if _reads_our_queue(sender.app):
        try:
            require_registrations()
        except RegistrationError as error:
            # Celery logs other exceptions of receivers, and goes on.
            sys.exit(str(error))


@worker_ready.connect
def listen_when_ready(sender: Any, **_: Any) -> None:
    """Called in a worker's main process, once it has its children. With threads, it reports itself."""
    if _reads_our_queue(sender.app):
        listen()
        if isinstance(sender.pool, thread.TaskPool):
            start_reporting()


@worker_process_init.connect
def start_reporting(**_: Any) -> None:
    """Called in each of a worker's child processes when it starts, and in a worker without children."""
    if _reads_our_queue(current_app):
        _reporter().start()
        atexit.register(_reporter().stop)  # children skip it: see `stop_reporting`


@worker_process_shutdown.connect
def stop_reporting(**_: Any) -> None:
    """Called in each of a worker's child processes when it ends normally."""
    if _reads_our_queue(current_app):
        _reporter().stop()


@beat_init.connect
def report_beat(sender: Any, **_: Any) -> None:
    """Called when beat starts, whatever its scheduler. Reports it until it ends, if it sweeps."""
    tasks = {entry.task for entry in sender.scheduler.schedule.values()}
    if celery_wake_ups.DRAIN in tasks:
        _beat_reporter().start()
        atexit.register(_beat_reporter().stop)
