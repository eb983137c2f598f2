"""The scenarios: each is a load, with faults of the site and of the clients' connections."""

from collections.abc import Mapping
from dataclasses import dataclass

#: The patterns under test: this project, and the plain pattern for comparison.
OURS, PLAIN = "ours", "plain"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A load and its faults. The defaults suit a machine with two cores."""

    name: str
    description: str
    seconds: float = 30.0
    #: Changes per second, and how many of them share a transaction.
    rate: float = 40.0
    batch: int = 1
    clients: int = 20
    #: Clients whose rights are taken away and given back, over and over.
    guests: int = 0
    #: The faults: each comes once, in order, then they are drawn at random; and the seconds between them.
    faults: tuple[str, ...] = ()
    every: float = 2.0
    #: The seconds between cuts of a client's connection, on average; None for no cuts.
    cut_every: float | None = None
    #: The limit for the lag of a notification, in seconds.
    worst_lag: float = 10.0

    @property
    def figures(self) -> str:
        """The load and the limit as a phrase."""
        return (
            f"{self.clients} clients, {self.rate:g} changes a second, {self.seconds:g} s;"
            f" nothing may take longer than {self.worst_lag:g} s"
        )


_ALL = (
    Scenario(name="steady", description="Nothing is broken.", worst_lag=5.0),
    Scenario(
        name="rights",
        description="Rights are taken away and given back while workers are killed and frozen.",
        guests=20,
        faults=("kill_worker", "freeze_worker", "lose_messages"),
        every=4.0,
        worst_lag=15.0,
    ),
    Scenario(
        name="burst",
        description="Three transactions with a hundred changes each second.",
        rate=300.0,
        batch=100,
        seconds=15.0,
    ),
    Scenario(
        name="jitter",
        description="Each client is cut off for 2 of about 15 seconds: reset, half open, or stalled.",
        seconds=60.0,
        clients=100,
        cut_every=15.0,
        worst_lag=15.0,
    ),
    Scenario(
        name="avalanche",
        description="Daphne is restarted and then killed, with all clients connected.",
        seconds=60.0,
        rate=20.0,
        clients=1000,
        faults=("restart_daphne", "kill_daphne"),
        every=20.0,
        worst_lag=60.0,
    ),
    Scenario(
        name="outage",
        description="Redis is down for a minute.",
        seconds=90.0,
        faults=("take_redis_away",),
        every=120.0,
    ),
    Scenario(
        name="crash",
        description="Every 2 seconds, a worker is killed, or a writer at times.",
        faults=("kill_worker", "kill_worker", "kill_writer"),
    ),
    Scenario(
        name="chaos",
        description="Processes and servers are killed and frozen, messages lost, and connections cut.",
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
