"""The load of a scenario: the processes that its pattern needs, and the writers."""

from typing import Any

from .scenarios import PLAIN, Scenario
from .site import Site

PROJECTS, TICKETS, WRITERS = 10, 5, 2


class Load:
    """The load of one run, in a site that is running."""

    def __init__(self, site: Site, scenario: Scenario, pattern: str, seed: int) -> None:
        self.site, self.scenario, self.seed = site, scenario, seed
        self.is_plain = pattern == PLAIN
        self.writers = [f"writer{number + 1}" for number in range(WRITERS)]
        self.projects: list[int] = []

    def set_up(self) -> Any:
        """Start the pattern's processes, without the writers. Return the fixtures of the clients."""
        site = self.site
        counts = {"projects": PROJECTS, "tickets": TICKETS}
        guests = 0 if self.is_plain else self.scenario.guests
        fixtures = site.prepare(clients=self.scenario.clients, guests=guests, **counts)
        self.projects = fixtures["projects"]
        if self.is_plain:
            site.manage("pillarbox", "triggers", "--remove")
            site.environment["DJANGO_SETTINGS_MODULE"] = "tests.rig.plain.settings"
            listen = f"--bind 127.0.0.1 --port {site.daphne_port}"
            site.commands["daphne"] = f"exec daphne {listen} tests.rig.plain.consumer:application"
        site.start("daphne", *(() if self.is_plain else ("worker1", "worker2", "beat")))
        return fixtures["listeners"]

    def start_writing(self) -> None:
        """Start the writers. Returns once all of them are writing."""
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
        """Stop the writers. Raises EndedError if one of them has already ended by itself."""
        for name in self.writers:
            self.site.check(name)
        self.site.stop_writers(*self.writers)
