"""Scenarios: a load, and the faults of a site, and of its clients' lines, under it."""

from collections.abc import Mapping
from dataclasses import dataclass

#: The patterns that a scenario can run by.
OURS, PLAIN = "ours", "plain"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A load, and its faults. The defaults are for a machine with two cores."""

    name: str
    description: str
    seconds: float = 30.0
    #: Changes each second, and how many of them are in one transaction.
    rate: float = 40.0
    batch: int = 1
    clients: int = 20
    #: Each of these comes once, in order, then any at random; and after how many seconds the next.
    faults: tuple[str, ...] = ()
    every: float = 2.0
    #: Each client's line is cut about so often, in seconds; None for never.
    cut_every: float | None = None
    #: No notification may take longer, in seconds.
    worst_lag: float = 10.0

    @property
    def figures(self) -> str:
        """The load and the limit, in a few words."""
        return (
            f"{self.clients} clients, {self.rate:g} changes a second, {self.seconds:g} s;"
            f" nothing may take longer than {self.worst_lag:g} s"
        )


_ALL = (
    Scenario(name="steady", description="Nothing is broken.", worst_lag=5.0),
    Scenario(
        name="burst",
        description="Three transactions with a hundred changes each second.",
        rate=300.0,
        batch=100,
        seconds=15.0,
    ),
    Scenario(
        name="jitter",
        description="Each client is cut off about every 15 seconds, for 2: reset, half open, or stalled.",
        seconds=60.0,
        clients=100,
        cut_every=15.0,
        worst_lag=15.0,
    ),
    Scenario(
        name="avalanche",
        description="Daphne is restarted, and then killed, under all its clients.",
        seconds=60.0,
        rate=20.0,
        clients=1000,
        faults=("restart_daphne", "kill_daphne"),
        every=20.0,
        worst_lag=60.0,
    ),
    Scenario(
        name="outage",
        description="Redis is away for a minute.",
        seconds=90.0,
        faults=("take_redis_away",),
        every=120.0,
    ),
    Scenario(
        name="crash",
        description="A worker is killed every 2 seconds, and now and then a writer.",
        faults=("kill_worker", "kill_worker", "kill_writer"),
    ),
    Scenario(
        name="chaos",
        description="Everything: processes and servers are killed and frozen, messages lost, lines cut.",
        seconds=60.0,
        faults=(
            "kill_postgres",
            "kill_redis",
            "kill_worker",
            "kill_daphne",
            "lose_messages",
            "kill_writer",
            "freeze_worker",
            "flush_redis",
            "kill_beat",
        ),
        every=3.0,
        cut_every=15.0,
        worst_lag=45.0,
    ),
)
SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
