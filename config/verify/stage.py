"""What a pattern consists of, in a site that is up: its processes, its writers, and their ledger."""

import json
from collections.abc import Sequence
from typing import Any

from .history import Committed
from .processes import wait_until
from .scenarios import Scenario
from .site import Site
from .writer import FAILED, WRITING

OURS, PLAIN = "ours", "plain"
PROJECTS, WRITERS = 10, 2
WRITE = (
    "from config.verify.writer import write; "
    "write({pks}, rate={rate}, seed='{seed}', batch={batch}, is_plain={is_plain})"
)
PREPARE = (
    "import json, config.verify.prepare as p; print(json.dumps(p.prepare({clients}, {projects})))"
)


class Stage:
    """A site, on which a scenario is played by one pattern."""

    def __init__(self, site: Site, scenario: Scenario, pattern: str, seed: int) -> None:
        self.site, self.scenario, self.seed = site, scenario, seed
        self.is_plain = pattern == PLAIN
        self.writers = [f"writer{number + 1}" for number in range(WRITERS)]

    def set_up(self) -> Any:
        """Start what the pattern consists of; return who and what there is."""
        site = self.site
        prepare = PREPARE.format(clients=self.scenario.clients, projects=PROJECTS)
        cast = json.loads(site.run("manage.py", "shell", "-v0", "-c", prepare))
        if self.is_plain:
            site.environment["DJANGO_SETTINGS_MODULE"] = "config.verify.plain_settings"
            listen = f"--bind 127.0.0.1 --port {site.daphne_port}"
            site.commands["daphne"] = f"exec daphne {listen} config.verify.plain:application"
        for number, name in enumerate(self.writers):
            code = self._writing(number, cast["projects"][number::WRITERS])
            site.commands[name] = f'exec python manage.py shell -v0 -c "{code}"'
        site.start("daphne", *(() if self.is_plain else ("worker1", "worker2", "beat")))
        return cast

    def start_writing(self) -> None:
        """Start the writers; returns when all of them write."""
        self.site.start(*self.writers)
        for name in self.writers:
            wait_until(lambda: WRITING in self.site.log(name), f"{name} begins")  # noqa: B023

    def stop_writing(self) -> None:
        """Stop the writers. Raises EndedError if one of them writes no more already."""
        for name in self.writers:
            self.site.check(name)
        for name in self.writers:
            self.site.stop(name)

    def transactions(self) -> int:
        """Return how many the database has had, since it was last killed."""
        ((number,),) = self.site.query("SELECT sum(xact_commit) FROM pg_stat_database")
        return int(number)

    def committed(self, streams: dict[str, Sequence[str]]) -> list[Committed]:
        """Return what the writers, who have ended, have committed."""
        writers = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'writer%'"
        wait_until(lambda: not self.site.query(writers), "the writers have left the database")
        rows = self.site.query(
            "SELECT ticket, content, extract(epoch FROM at)::float FROM verify_ledger ORDER BY id"
        )
        return [
            Committed(content=content, streams=tuple(streams[str(ticket)]), at=at)
            for ticket, content, at in rows
        ]

    def failed(self) -> int:
        """Return how many saves have failed, though the database was there."""
        failed = self.site.data_dir / FAILED
        return len(failed.read_text().splitlines()) if failed.exists() else 0

    def _writing(self, number: int, projects: Sequence[Sequence[int]]) -> str:
        return WRITE.format(
            pks=[pk for pks in projects for pk in pks],
            rate=self.scenario.rate / WRITERS,
            seed=f"{self.seed}.{number}",
            batch=self.scenario.batch,
            is_plain=self.is_plain,
        )
