"""How fast a client may go."""

from dataclasses import dataclass, field

from .conf import realtime_settings


@dataclass(slots=True)
class TokenBucket:
    """
    Lets ``COMMANDS_PER_SECOND`` through, over time, and a burst after a rest.

    The burst is as large as one command may be: subscribing to everything at once. Token bucket as in
    Turner, "New directions in communications", 1986.
    """

    now: float
    _tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = self.burst

    @property
    def burst(self) -> float:
        conf = realtime_settings()
        return float(conf.SUBSCRIPTIONS + conf.COMMANDS_PER_SECOND)

    def take(self, cost: int, now: float) -> float:
        """Return 0 if a command of this cost may pass, else after how many seconds it may."""
        rate = realtime_settings().COMMANDS_PER_SECOND
        self._tokens = min(self.burst, self._tokens + (now - self.now) * rate)
        self.now = now
        if cost > self._tokens:
            return (cost - self._tokens) / rate
        self._tokens -= cost
        return 0.0
