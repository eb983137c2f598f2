"""Beat's scheduler: looks at the queue first, so that an absent worker finds two messages at most."""

import logging
from datetime import UTC, datetime
from typing import Any

from celery.beat import ScheduleEntry, Scheduler

from . import bell
from .reports import Reporter

logger = logging.getLogger(__name__)


class BellScheduler(Scheduler):
    """Keeps its schedule in memory: what it schedules is safe to do twice, or late."""

    #: Why the broker is away, in a line; None if it isn't.
    broker: str | None = None
    #: When it swept last.
    swept_at: datetime | None = None
    reporter: Reporter | None = None

    def setup_schedule(self) -> None:
        """Called when it is about to keep its schedule."""
        super().setup_schedule()
        self.reporter = Reporter("beat", self.facts)
        self.reporter.start()

    def close(self) -> None:
        """Called when it is told to end, perhaps twice."""
        if self.reporter is not None:
            self.reporter.stop()
        super().close()

    def facts(self) -> dict[str, Any]:
        """Return how it is, as JSON; from any thread."""
        swept_at = None if self.swept_at is None else self.swept_at.isoformat()
        return {"swept_at": swept_at, "broker": self.broker}

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Called when an entry is due. An outage of the broker is logged once, not each second."""
        try:
            if entry.task == "outbox.sweep":
                bell.sweep(self.app)
                self.swept_at = datetime.now(UTC)
            else:
                bell.send_unless_waiting(self.app, str(entry.task), most=1)
        except Exception as error:  # noqa: BLE001  # any broker's own; the next sweep comes in a second
            if self.broker is None:
                logger.warning("The broker is away: %s", error, extra={"action": "broker_away"})
            self.broker = " ".join(str(error).split()) or type(error).__name__
        else:
            self.broker = None
