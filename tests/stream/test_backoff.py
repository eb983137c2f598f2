"""The delay after a failed attempt."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.stream.backoff import backoff


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_is_between_half_and_the_ceiling(attempt, chance):
    """
    For any number of attempts the delay is between half the base and the ceiling.
    """
    delay = backoff(attempt, base=1.0, ceiling=300.0, jitter=lambda: chance)
    assert timedelta(seconds=0.5) <= delay <= timedelta(seconds=300)


def test_doubles():
    """
    Each further attempt waits twice as long.
    """
    delays = [backoff(n, base=1.0, ceiling=300.0, jitter=lambda: 1.0) for n in (1, 2, 3, 4)]
    assert [timedelta(seconds=s) for s in (1, 2, 4, 8)] == delays
