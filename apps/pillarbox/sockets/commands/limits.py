"""The limits of a client's commands: their rate, and how often they may be malformed."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from ...close_codes import CloseCode
from ...conf import pillarbox_settings
from ...exceptions import ClientCommandError


@dataclass(slots=True)
class TokenBucket:
    """
    A token bucket: it allows ``COMMANDS_PER_SECOND`` on average, and a burst after a pause.

    The burst is never smaller than the cost of the largest command, which requests as many subscriptions as a
    socket may have. The algorithm is from Turner, "New directions in communications", 1986.
    """

    now: float
    _tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = self.burst

    @property
    def burst(self) -> float:
        conf = pillarbox_settings()
        return float(conf.SUBSCRIPTIONS + conf.COMMANDS_PER_SECOND)

    def take(self, cost: int, now: float) -> float:
        """Charge a command's cost, and return 0. If it is too soon, only return the seconds to wait."""
        rate = pillarbox_settings().COMMANDS_PER_SECOND
        self._tokens = min(self.burst, self._tokens + (now - self.now) * rate)
        self.now = now
        if cost > self._tokens:
            return (cost - self._tokens) / rate
        self._tokens -= cost
        return 0.0


class CommandLimits:
    """The limits of one client's commands. Clients that ignore them are disconnected."""

    def __init__(self) -> None:
        self._bucket = TokenBucket(_now())
        #: Refused frames since the last valid command, by error code.
        self._refused: Counter[str] = Counter()

    def charge(self, cost: int) -> None:
        """Charge a command's cost. Raises ClientCommandError if the client exceeds its rate limit."""
        if wait := self._bucket.take(cost, _now()):
            text = "Too many commands."
            raise ClientCommandError("rate_limited", text, temporary=True, retry_after=wait)

    def note_valid(self) -> None:
        """Called with each valid command: forget earlier refusals."""
        self._refused.clear()

    def note_refusal(self, code: str) -> CloseCode | None:
        """Called with the code of each refusal. Returns a close code if the client must be disconnected."""
        conf = pillarbox_settings()
        self._refused[code] += 1
        if self._refused["malformed"] >= conf.MALFORMED_FRAMES:
            return CloseCode.PROTOCOL_ABUSE
        if self._refused["rate_limited"] >= conf.COMMANDS_PER_SECOND:
            return CloseCode.TOO_MANY
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
