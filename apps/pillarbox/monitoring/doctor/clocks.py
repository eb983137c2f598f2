"""The comparison of this host's clock with those of the servers."""

from ...formats import milliseconds
from .findings import Finding, Outcome

#: Seconds by which clocks may differ, beyond the uncertainty of half the request's duration.
TOLERANCE = 1.0


def skew(name: str, before: float, there: float, after: float) -> Outcome:
    """
    Compare a server's clock with this host's.

    ``there`` is the server's time; ``before`` and ``after`` are this host's times around the request.
    All are Unix times.
    """
    differs = there - (before + after) / 2
    if abs(differs) <= TOLERANCE + (after - before) / 2:
        return f"{name}'s differs by {milliseconds(abs(differs))}"
    direction = "ahead of" if differs > 0 else "behind"
    return [
        Finding(
            what=f"{name}'s clock is {abs(differs):.1f} seconds {direction} this host's.",
            why="Rows, ages and retention use PostgreSQL's clock; sessions, logs and `server_time` use this "
            "host's. Their times can't be compared.",
            cure="Synchronise both hosts by NTP (chrony, systemd-timesyncd), and find out which is wrong.",
        )
    ]
