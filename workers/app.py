"""The Celery app: `celery -A workers.app worker -Q pillarbox`, `celery -A workers.app beat`."""

import os
from functools import cached_property
from typing import Any

from celery import Celery

from pillarbox.monitoring.probes.shared_metrics import share_metrics
from pillarbox.schedule import SWEEP_SECONDS, beat_entries

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


class Notifier(Celery):
    """The Celery app. A worker and its children share their metrics."""

    @cached_property
    def Worker(self) -> Any:  # noqa: N802  # the parent's name
        """Called once by `celery worker`, before any other module of ours is imported."""
        share_metrics("worker", os.getpid())
        return super().Worker


app = Notifier("notifier", amqp="workers.broker:Amqp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule |= beat_entries(sweep_seconds=SWEEP_SECONDS)
