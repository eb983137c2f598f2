"""Beat's scheduler: looks at the queue first, so that an absent worker finds two messages at most."""

import logging
from typing import Any

from celery.beat import ScheduleEntry, Scheduler

from . import bell

logger = logging.getLogger(__name__)


class BellScheduler(Scheduler):
    """Keeps its schedule in memory: what it schedules is safe to do twice, or late."""

    broker_is_away = False

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Called when an entry is due. An outage of the broker is logged once, not each second."""
        try:
            if entry.task == "outbox.sweep":
                bell.sweep(self.app)
            else:
                bell.send_unless_waiting(self.app, str(entry.task), most=1)
        except Exception as error:  # noqa: BLE001  # any broker's own; the next sweep comes in a second
            if not self.broker_is_away:
                logger.warning("The broker is away: %s", error, extra={"action": "broker_away"})
            self.broker_is_away = True
        else:
            self.broker_is_away = False
