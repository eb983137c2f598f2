"""One run: a site with its writers and clients, what is broken meanwhile, and what came of it."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from .checker import Verdict, judge
from .faults import Faults, cut_now_and_then, pass_time
from .history import Breached, Committed, Record
from .listeners import Listener, OurListener, PlainListener
from .processes import wait_until
from .proxy import Proxy
from .scenarios import Scenario
from .site import Site
from .writer import FAILED, WRITING

OURS, PLAIN = "ours", "plain"
PROJECTS, WRITERS = 10, 2
#: Sockets that come in at once: as many as plain Daphne lets wait.
AT_THE_DOOR = 40
#: How long what is missing may take when nothing is broken any more; of the plain pattern nothing more comes.
PATIENCE = {OURS: 60.0, PLAIN: 10.0}
PROGRESS_SECONDS, LOOK_SECONDS = 5.0, 0.2
WRITE = (
    "from config.verify.writer import write; "
    "write({pks}, rate={rate}, seed='{seed}', batch={batch}, is_plain={is_plain})"
)
PREPARE = (
    "import json, config.verify.prepare as p; print(json.dumps(p.prepare({clients}, {projects})))"
)


@dataclass(kw_only=True)
class Outcome:
    """What came of a run."""

    scenario: Scenario
    pattern: str
    begun: float
    history: list[Record]
    verdict: Verdict
    #: Changes that failed, though the database was there.
    failed: int
    #: For each client: what it was sent, and transactions of the database, where they could be counted.
    kilobytes: float
    transactions: float | None

    @property
    def is_clean(self) -> bool:
        """Whether something happened, and nothing at all is wrong."""
        is_late = self.verdict.lag(1) > self.scenario.worst_lag
        return bool(self.verdict.lags) and not (self.verdict.errors or self.failed or is_late)


class Run:
    """A scenario, by one pattern, in a site that is up. ``say`` is told how it goes."""

    def __init__(
        self, scenario: Scenario, pattern: str, seed: int, site: Site, say: Callable[[str], None]
    ) -> None:
        self.scenario, self.pattern, self.seed = scenario, pattern, seed
        self.site, self.say = site, say
        self.history: list[Record] = []
        self.listeners: list[Listener] = []
        self.over = asyncio.Event()

    def stop(self) -> None:
        """End it early: what there is so far is judged."""
        self.over.set()

    async def play(self) -> Outcome:
        """Run to the end, and judge."""
        cast = await asyncio.to_thread(self._begin)
        async with AsyncExitStack() as stack:
            following = await self._let_in(cast["listeners"], stack)
            self.say(f"{len(self.listeners)} clients follow.")
            begun, before = time.time(), await asyncio.to_thread(self._transactions)
            await self._load(cast["projects"])
            committed = await asyncio.to_thread(self._committed, cast["streams"])
            await self._wait_for_the_rest(committed)
            transactions = await asyncio.to_thread(self._transactions) - before
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
        breaches = [Breached(client=one.name, times=one.breaches) for one in self.listeners]
        history = [*committed, *self.history, *(one for one in breaches if one.times)]
        failed = self.site.data_dir / FAILED
        clients = len(self.listeners)
        return Outcome(
            scenario=self.scenario,
            pattern=self.pattern,
            begun=begun,
            history=history,
            verdict=judge(history),
            failed=len(failed.read_text().splitlines()) if failed.exists() else 0,
            kilobytes=sum(one.received for one in self.listeners) / 1000 / clients,
            # A server that was killed counts anew.
            transactions=transactions / clients if transactions > 0 else None,
        )

    # The site

    def _begin(self) -> Any:
        """Start what the pattern consists of; return who and what there is."""
        site, is_plain = self.site, self.pattern == PLAIN
        prepare = PREPARE.format(clients=self.scenario.clients, projects=PROJECTS)
        cast = json.loads(site.run("manage.py", "shell", "-v0", "-c", prepare))
        if is_plain:
            site.environment["DJANGO_SETTINGS_MODULE"] = "config.verify.plain_settings"
            listen = f"--bind 127.0.0.1 --port {site.daphne_port}"
            site.commands["daphne"] = f"exec daphne {listen} config.verify.plain:application"
        for number in range(WRITERS):
            projects = cast["projects"][number::WRITERS]
            code = WRITE.format(
                pks=[pk for pks in projects for pk in pks],
                rate=self.scenario.rate / WRITERS,
                seed=f"{self.seed}.{number}",
                batch=self.scenario.batch,
                is_plain=is_plain,
            )
            site.commands[f"writer{number + 1}"] = f'exec python manage.py shell -v0 -c "{code}"'
        site.start("daphne", *(() if is_plain else ("worker1", "worker2", "beat")))
        return cast

    def _transactions(self) -> int:
        ((number,),) = self.site.query("SELECT sum(xact_commit) FROM pg_stat_database")
        return int(number)

    def _committed(self, streams: dict[str, Sequence[str]]) -> list[Committed]:
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

    # The clients

    async def _let_in(
        self, listeners: Sequence[Any], stack: AsyncExitStack
    ) -> list[asyncio.Task[None]]:
        """Return the clients' tasks, when all of them follow."""
        kind = PlainListener if self.pattern == PLAIN else OurListener
        door, following = asyncio.Semaphore(AT_THE_DOOR), []

        async def enter(listener: Listener) -> None:
            async with door:
                following.append(asyncio.create_task(self._follow(listener)))
                await listener.is_ready.wait()

        self.lines = []
        for about in listeners:
            port = self.site.daphne_port
            if self.scenario.cut_every is not None:
                line = await stack.enter_async_context(Proxy(f"ws://127.0.0.1:{port}"))
                self.lines.append((line, about["name"]))
                port = line.port
            self.listeners.append(kind(about, port, self.history))
        async with asyncio.timeout(PATIENCE[OURS] + len(self.listeners) / 10):
            await asyncio.gather(*map(enter, self.listeners))
        return following

    async def _follow(self, listener: Listener) -> None:
        try:
            await listener.run()
        except Exception as error:  # noqa: BLE001  # what it missed is judged like anything else
            self.say(f"{listener.name} was sent away: {error!r}")

    # The load

    async def _load(self, projects: Sequence[Any]) -> None:
        """Write and break until the time is over, or somebody stops it; then everything is whole again."""
        writers = [f"writer{number + 1}" for number in range(WRITERS)]
        faults = Faults(
            self.site, self.scenario.harms, f"{self.seed} faults", self.over, self.history
        )
        await asyncio.to_thread(self.site.start, *writers)
        for name in writers:
            begins = partial(self._is_writing, name)
            await asyncio.to_thread(wait_until, begins, f"{name} begins")
        async with asyncio.TaskGroup() as group:
            group.create_task(faults.run(self.scenario.every))
            for line, name in self.lines:
                seed = f"{self.seed} {name}"
                every = self.scenario.cut_every or 0.0
                group.create_task(
                    cut_now_and_then(line, name, every, seed, self.over, self.history)
                )
            end = time.monotonic() + self.scenario.seconds
            while (left := end - time.monotonic()) > 0 and not self.over.is_set():
                await pass_time(min(left, PROGRESS_SECONDS), self.over)
                self._report(self.scenario.seconds - end + time.monotonic(), faults.count)
            self.over.set()
        for name in writers:
            await asyncio.to_thread(self.site.stop, name)

    def _is_writing(self, name: str) -> bool:
        return WRITING in self.site.log(name)

    def _report(self, seconds: float, harms: int) -> None:
        heard = sum(len(found) for one in self.listeners for found in one.heard.values())
        self.say(
            f"{seconds:.0f} of {self.scenario.seconds:.0f} s, {heard} notifications heard, {harms} faults"
        )

    async def _wait_for_the_rest(self, committed: Sequence[Committed]) -> None:
        expected: dict[str, set[str]] = defaultdict(set)
        for change in committed:
            for stream in change.streams:
                expected[stream].add(change.content)
        end = time.monotonic() + PATIENCE[self.pattern]
        waiting = [one for one in self.listeners if one.is_allowed]
        while waiting and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
            waiting = [
                one
                for one in waiting
                if not all(expected[stream] <= one.heard[stream] for stream in one.streams)
            ]
