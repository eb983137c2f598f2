"""The load of a scenario, by one pattern: the processes of the pattern, and the writers."""

from typing import Any

from .scenarios import PLAIN, Scenario
from .site import Site

PROJECTS, TICKETS, WRITERS = 10, 5, 2


class Load:
    """A load in a site that is up."""

    def __init__(self, site: Site, scenario: Scenario, pattern: str, seed: int) -> None:
        self.site, self.scenario, self.seed = site, scenario, seed
        self.is_plain = pattern == PLAIN
        self.writers = [f"writer{number + 1}" for number in range(WRITERS)]
        self.projects: list[int] = []

    def set_up(self) -> Any:
        """Start the processes of the pattern, but no writer. Return the clients that there shall be."""
        site = self.site
        counts = {"projects": PROJECTS, "tickets": TICKETS}
        fixtures = site.prepare(clients=self.scenario.clients, **counts)
        self.projects = fixtures["projects"]
        if self.is_plain:
            site.environment["DJANGO_SETTINGS_MODULE"] = "tests.rig.plain.settings"
            listen = f"--bind 127.0.0.1 --port {site.daphne_port}"
            site.commands["daphne"] = f"exec daphne {listen} tests.rig.plain.consumer:application"
        site.start("daphne", *(() if self.is_plain else ("worker1", "worker2", "beat")))
        return fixtures["listeners"]

    def start_writing(self) -> None:
        """Start the writers. Returns when all of them write."""
        for number, name in enumerate(self.writers):
            self.site.write(
                name,
                self.projects[number::WRITERS],
                rate=self.scenario.rate / WRITERS,
                seed=f"{self.seed}.{number}",
                batch=self.scenario.batch,
                is_plain=self.is_plain,
            )

    def stop_writing(self) -> None:
        """Stop the writers. Raises EndedError if one of them has ended before."""
        for name in self.writers:
            self.site.check(name)
        self.site.stop_writers(*self.writers)
