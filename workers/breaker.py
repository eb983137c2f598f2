"""The breaker: what is away is asked now and then, with one row, and the log says so now and then."""

import logging
import random
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: The longest wait before the next probe doubles from the first of these to the second, in seconds.
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 5.0
#: How often the log says that the layer is still away.
REMINDER_SECONDS = 300.0


class Breaker:
    """
    Closed while all is well; open after a failure, but for a probe at a random moment.

    The moments are jittered in full, between nothing and a wait that doubles, so that the workers of a
    site don't ask in step (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    ``name`` is what may be away, as a sentence begins with it.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._name, self._clock, self._jitter = name, clock, jitter
        self._failures = 0
        #: Why it is open, in a line; None while it is closed.
        self.why: str | None = None
        self._since = self._said = self._probe_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last that was tried failed: what is tried next is a probe."""
        return self._failures > 0

    @property
    def refuses(self) -> bool:
        """Whether nothing is to be tried now."""
        return self.is_open and self._clock() < self._probe_at

    def fail(self, error: BaseException) -> None:
        """It is away. The log says so once, and then rarely."""
        now = self._clock()
        longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures, 16))
        self._probe_at = now + longest * self._jitter()
        self._failures += 1
        self.why = " ".join(str(error).split()) or type(error).__name__
        if self._failures == 1:
            self._since = now
        if self._failures == 1 or now - self._said >= REMINDER_SECONDS:
            self._said = now
            logger.warning(
                "%s is away, for %d seconds by now: %s. Notifications wait in the outbox.",
                self._name,
                now - self._since,
                self.why,
                extra={"action": "breaker_open"},
            )

    def succeed(self) -> None:
        """It answered."""
        if self.is_open:
            away = self._clock() - self._since
            extra = {"action": "breaker_closed"}
            logger.warning("%s is back after %d seconds.", self._name, away, extra=extra)
        self._failures, self.why = 0, None
