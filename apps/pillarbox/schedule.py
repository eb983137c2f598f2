"""The intervals of recurring work, in seconds. Workers and beat do it, or `manage.py pillarbox run`."""

from typing import Any

#: How often a worker sweeps, whether or not a wake-up was requested.
SWEEP_SECONDS = 0.5
#: The same in the schedule of a project: django-celery-beat keeps whole seconds, and 0.5 as none at all.
BEAT_SECONDS = 1.0
PRUNE_SECONDS = 600.0
#: How often a worker looks for replays left over by a dead worker, or by an outage of the broker.
REPLAY_SECONDS = 5.0


def beat_entries(*, sweep_seconds: float = BEAT_SECONDS) -> dict[str, dict[str, Any]]:
    """Return the entries for ``beat_schedule`` in the project's Celery app, by which beat sends our tasks."""
    from celery.schedules import crontab  # noqa: PLC0415  # a project without Celery has none

    schedules = {
        "pillarbox.drain": sweep_seconds,
        "pillarbox.count": crontab(),  # each full minute
        "pillarbox.prune": PRUNE_SECONDS,
        "pillarbox.replay": REPLAY_SECONDS,
    }
    return {task: {"task": task, "schedule": schedule} for task, schedule in schedules.items()}
