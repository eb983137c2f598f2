"""What the durable half counts, and how ages of rows are counted."""

import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable
from datetime import datetime

from prometheus_client import Counter, Histogram

#: From what nobody notices to what somebody is called for, in seconds.
BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

# Not at the insert, which may be rolled back, and not by whoever saves, who must not wait for it.
CAPTURED = Counter(
    "notifier_rows_captured",
    "Committed rows of the outbox, counted when they get their offsets, by whoever gives them.",
)


class Ages(Histogram):
    """A histogram of how long ago rows were written; many at once cost hardly more than one."""

    def observe_rows(self, created_at: Iterable[str]) -> None:
        """Observe the ages that rows have now, by when they were written, as `Row.created_at` has it."""
        now, total = time.time(), 0.0
        places: Tally[int] = Tally()
        for moment, rows in Tally(created_at).items():
            # Clocks differ: nothing is younger than nothing.
            age = max(0.0, now - datetime.fromisoformat(moment).timestamp())
            places[bisect_left(self._upper_bounds, age)] += rows
            total += age * rows
        # The parent takes one at a time, which would cost more than all else that is done for a row.
        self._sum.inc(total)
        for place, rows in places.items():
            self._buckets[place].inc(rows)
