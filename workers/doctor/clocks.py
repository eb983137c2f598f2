"""Clocks: this host's, and those of the servers."""

from .findings import Answer, Finding

#: Seconds by which clocks may differ, beside the time that asking takes.
TOLERANCE = 1.0


def skew(name: str, before: float, there: float, after: float) -> Answer:
    """Compare what a server's clock said with this host's, before and after it was asked: Unix times."""
    differs = there - (before + after) / 2
    if abs(differs) <= TOLERANCE + (after - before) / 2:
        return f"{name}'s differs by {abs(differs) * 1000:.0f} ms"
    direction = "ahead of" if differs > 0 else "behind"
    return [
        Finding(
            what=f"{name}'s clock is {abs(differs):.1f} seconds {direction} this host's.",
            why="Rows, ages and retention go by PostgreSQL's clock, sessions, logs and `server_time` by this "
            "host's: what is shown of them doesn't fit together.",
            cure="Have both hosts keep time by NTP (chrony, systemd-timesyncd), and see which one is wrong.",
        )
    ]
