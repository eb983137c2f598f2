"""Metrics of the outbox, and a histogram for ages of rows."""

import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable
from datetime import datetime

from prometheus_client import Counter, Histogram

#: Buckets in seconds, from imperceptible to worth paging for.
BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

# Counted at numbering: an insert may be rolled back, and the saving process shouldn't do the work.
CAPTURED = Counter(
    "notifier_rows_captured",
    "Committed rows of the outbox, counted when they get their offsets.",
)
OBSOLETE = Counter(
    "notifier_rows_obsolete",
    "Rows whose object was deleted or moved before rendering; subscribers see them as skipped.",
)

RETRIED = Counter(
    "notifier_rows_retried", "Failed attempts to render or publish a row that will be tried again."
)
FAILED = Counter(
    "notifier_rows_failed",
    "Rows whose attempts are spent. They wait for an operator to replay them.",
)


class Ages(Histogram):
    """A histogram of rows' ages. Observing many rows at once costs hardly more than one."""

    def observe_rows(self, created_at: Iterable[str]) -> None:
        """Observe the present ages of rows, given their `Row.created_at`."""
        now, total = time.time(), 0.0
        places: Tally[int] = Tally()
        for moment, rows in Tally(created_at).items():
            # Clocks may differ, so an age could come out negative.
            age = max(0.0, now - datetime.fromisoformat(moment).timestamp())
            places[bisect_left(self._upper_bounds, age)] += rows
            total += age * rows
        # `observe` takes one value at a time, which would cost more than all other work for a row.
        self._sum.inc(total)
        for place, rows in places.items():
            self._buckets[place].inc(rows)
