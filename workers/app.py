"""The Celery app: `celery -A workers.app worker`, `celery -A workers.app beat`."""

import os
from functools import cached_property
from typing import Any

from celery import Celery
from celery.schedules import crontab

from .tallies import count_together

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

#: How often the sweep looks, bell or not.
SWEEP_SECONDS = 0.5
PRUNE_SECONDS = 600.0
#: How often a worker looks for replays that nobody carries out, since one died or the broker was away.
REPLAY_SECONDS = 5.0


class Notifier(Celery):
    """Celery's app, whose worker counts together with its children."""

    @cached_property
    def Worker(self) -> Any:  # noqa: N802  # the parent's name
        """Called once by `celery worker`, before anything else of ours is imported."""
        count_together("worker", os.getpid())
        return super().Worker


app = Notifier("notifier", amqp="workers.broker:Amqp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    include=["workers.tasks"],
    task_default_queue="outbox",
    task_ignore_result=True,
    # Celery closes the database's connections after each task, unless told how many tasks later. Ours close
    # those that are old or broken, as requests do.
    CELERY_DB_REUSE_MAX=1_000_000,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    # Concerns late acknowledgement, which we have none of; unset, Celery warns whenever the broker was away.
    worker_cancel_long_running_tasks_on_connection_loss=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # for ever
    # A web process that rings must not wait long for a broker that is away.
    broker_connection_timeout=1,
    broker_transport_options={
        "socket_connect_timeout": 1,
        "socket_timeout": 2,
        "max_retries": 0,
        "interval_start": 0,
    },
    beat_scheduler="workers.beat.BellScheduler",
    beat_max_loop_interval=SWEEP_SECONDS,
    beat_schedule={
        "sweep": {"task": "outbox.sweep", "schedule": SWEEP_SECONDS},
        "count": {"task": "outbox.count", "schedule": crontab()},  # when a minute has ended
        "prune": {"task": "outbox.prune", "schedule": PRUNE_SECONDS},
        "replay": {"task": "outbox.replay", "schedule": REPLAY_SECONDS},
    },
)
