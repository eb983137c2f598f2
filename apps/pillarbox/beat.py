"""A scheduler for beat that goes on sweeping when the clock is set. Celery's own schedulers work, too."""

import time
from typing import Any

from celery.beat import Scheduler

from .schedule import SWEEP_SECONDS

#: If the clock is set by more than this, forward or back, beat restarts its schedule.
STEP_SECONDS = 5.0


class SweepScheduler(Scheduler):
    """A scheduler that keeps its schedule in memory, and restarts it if the clock was set."""

    #: The parent's producer would wait for the broker at the start, before an outage could be reported.
    producer = None  # type: ignore[assignment]
    #: So that a clock that was set is noticed soon.
    max_interval = SWEEP_SECONDS  # type: ignore[assignment]
    #: Difference between the clock and the monotonic one, at the last tick.
    _offset: float | None = None

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """
        Called at least every `SWEEP_SECONDS`. Restarts the schedule if the clock was set.

        Otherwise a clock that was set back would stop the sweeps until it has caught up.
        """
        offset = time.time() - time.monotonic()
        if self._offset is not None and abs(offset - self._offset) > STEP_SECONDS:
            for entry in self.schedule.values():
                entry.last_run_at = entry.default_now()
            self.populate_heap()
        self._offset = offset
        return super().tick(*args, **kwargs)
