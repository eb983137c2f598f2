"""The delay between a failed attempt and the next."""

from collections.abc import Callable
from datetime import timedelta


def backoff(attempt: int, *, base: float, ceiling: float, jitter: Callable[[], float]) -> timedelta:
    """
    Return the delay after failed attempt number ``attempt`` (1, 2, …): doubling, capped, jittered.

    ``base`` and ``ceiling`` are seconds; ``jitter()`` is between 0 and 1 and takes away up to half
    ("equal jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

    >>> backoff(3, base=1.0, ceiling=300.0, jitter=lambda: 1.0)
    datetime.timedelta(seconds=4)
    >>> backoff(10_000, base=1.0, ceiling=300.0, jitter=lambda: 0.0)
    datetime.timedelta(seconds=150)
    """
    # The exponent is clamped because a float overflows at 2**1024.
    whole = min(ceiling, base * 2.0 ** min(attempt - 1, 64))
    return timedelta(seconds=whole * (1 + jitter()) / 2)
