"""Circuit breakers: they probe a failed dependency now and then, and log the outage rarely."""

import random
import time
from collections.abc import Callable

from ..formats import one_line
from ..logs import get_logger
from ..metrics.relay import BREAKERS

logger = get_logger(__name__)

#: The limit of the wait before a probe doubles from the first to the second, in seconds.
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 5.0
#: How often the log repeats that the dependency is away.
REMINDER_SECONDS = 300.0


class Breaker:
    """
    A circuit breaker: closed while calls succeed; open after a failure, except for occasional probes.

    The wait before a probe is random, up to a limit that doubles (full jitter), so a site's processes don't
    probe in step (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). ``jitter``
    returns the share of the limit that is waited, between 0 and 1.
    """

    def __init__(
        self,
        *,
        first: float = FIRST_SECONDS,
        longest: float = LONGEST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first, self._longest, self._clock, self._jitter = first, longest, clock, jitter
        #: Failed calls since the last successful one.
        self._failures = 0
        #: Why the breaker is open, in one line; None while it is closed.
        self.why: str | None = None
        self._opened_at = self._probe_at = 0.0

    @property
    def is_open(self) -> bool:
        """True if the last call failed; the next one is a probe."""
        return self._failures > 0

    @property
    def refuses(self) -> bool:
        """True while no call should be made."""
        return self.is_open and self._clock() < self._probe_at

    def fail(self, error: BaseException) -> None:
        """Record a failed call."""
        now = self._clock()
        if not self.is_open:
            self._opened_at = now
        limit = min(self._longest, self._first * 2.0 ** min(self._failures, 16))
        self._probe_at = now + limit * self._jitter()
        self._failures += 1
        self.why = one_line(error)

    def succeed(self) -> None:
        """Record a successful call."""
        self._failures, self.why = 0, None


class LoggedBreaker(Breaker):
    """
    A breaker that logs the outages of a dependency, and exposes as a metric whether it is open.

    ``name`` is the dependency's name, as it begins a sentence. The options are those of `Breaker`.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(clock=clock, jitter=jitter)
        self._name = name
        self._gauge = BREAKERS.labels(name.removeprefix("The "))
        self._logged_at = 0.0

    def fail(self, error: BaseException) -> None:
        """Record a failed call. Log the first one, and then one each `REMINDER_SECONDS`."""
        is_first, now = not self.is_open, self._clock()
        super().fail(error)
        self._gauge.set(1)
        if is_first or now - self._logged_at >= REMINDER_SECONDS:
            self._logged_at = now
            logger.warning(
                "%s is away (%d seconds so far): %s. Notifications wait in the outbox.",
                self._name,
                now - self._opened_at,
                self.why,
                extra={"action": "breaker_open"},
            )

    def succeed(self) -> None:
        """Record a successful call. Log it if it ends an outage."""
        if self.is_open:
            self._gauge.set(0)
            logger.warning(
                "%s is back after %d seconds.",
                self._name,
                self._clock() - self._opened_at,
                extra={"action": "breaker_closed"},
            )
        super().succeed()
