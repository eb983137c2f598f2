"""One run of a scenario: its writers, its clients, its faults and its outcome."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.waiting import wait_until

from .checker import Result, check_history
from .checker.published import Skipped, check_published
from .clients import Clients
from .faults import Faults, break_repeatedly, pass_time
from .history import Committed, Published, Record
from .load import Load
from .reports.outcome import Outcome
from .scenarios import PLAIN, Scenario
from .site import Site

PROGRESS_SECONDS = 5.0


class Run:
    """A run of a scenario by one pattern, in a site that is running. ``log`` gets its progress."""

    def __init__(
        self, scenario: Scenario, pattern: str, seed: int, site: Site, log: Callable[[str], None]
    ) -> None:
        self.scenario, self.pattern, self.seed = scenario, pattern, seed
        self.site, self.log = site, log
        self.load = Load(site, scenario, pattern, seed)
        self.history: list[Record] = []
        self.over = asyncio.Event()
        self.was_stopped = False
        #: The task that `stop` cancels; None once there is something to check.
        self._starting: asyncio.Task[object] | None = None

    def stop(self) -> None:
        """End the run early. Its history so far is checked, or it is cancelled if no writer has started."""
        self.was_stopped = True
        self.over.set()
        if self._starting is not None:
            self._starting.cancel()

    async def complete(self) -> Outcome:
        """Run to the end and check the history. Raises CancelledError if stopped before the writers start."""
        self._starting = asyncio.current_task()
        fixtures = await asyncio.to_thread(self.load.set_up)
        async with Clients(self.pattern, self.history, self.log) as clients:
            through_proxies = self.scenario.cut_every is not None
            await clients.connect(fixtures, self.site.daphne_port, through_proxies=through_proxies)
            self.log(f"{len(clients.listeners)} clients follow.")
            begun, before = time.time(), await asyncio.to_thread(self.site.transactions)
            await asyncio.to_thread(self.load.start_writing)
            self._starting = None
            await self._break(clients)
            self.log("The load has ended. Waiting for missing notifications.")
            committed = await asyncio.to_thread(self.site.committed)
            await clients.wait_for(committed, await asyncio.to_thread(self._skipped, committed))
            transactions = await asyncio.to_thread(self.site.transactions) - before
        history = [*committed, *self.site.published(), *self.history, *clients.observed()]
        count = len(clients.listeners)
        return Outcome(
            scenario=self.scenario,
            pattern=self.pattern,
            begun=begun,
            history=history,
            result=check_history(history, has_journal=self.pattern != PLAIN),
            failed=self.site.failed(),
            kilobytes=sum(one.characters for one in clients.listeners) / 1000 / count,
            # PostgreSQL begins to count anew when it has been killed.
            transactions=transactions / count if transactions > 0 else None,
        )

    def _skipped(self, committed: Sequence[Committed]) -> Skipped:
        """Return the changes that clients see as skipped. Waits for the last publication, but not forever."""
        with suppress(TimeoutError):
            wait_until(self.site.is_drained, "all is published")
        published = [one for one in self.site.published() if isinstance(one, Published)]
        return check_published(committed, published, Result())

    async def _break(self, clients: Clients) -> None:
        """Cause faults until time is up or the run is stopped. Returns once all faults are undone."""
        scenario = self.scenario
        faults = Faults(self.site, scenario.faults, f"{self.seed} faults", self.over, self.history)
        async with asyncio.TaskGroup() as group:
            group.create_task(faults.run(scenario.every))
            for proxy, name in clients.proxies:
                every, seed = scenario.cut_every or 0.0, f"{self.seed} {name}"
                cutting = break_repeatedly(proxy, name, every, seed, self.over, self.history)
                group.create_task(cutting)
            end = time.monotonic() + scenario.seconds
            while (left := end - time.monotonic()) > 0 and not self.over.is_set():
                await pass_time(min(left, PROGRESS_SECONDS), self.over)
                seconds = scenario.seconds - end + time.monotonic()
                self._report(seconds, clients.shown, faults.count)
            self.over.set()
        await asyncio.to_thread(self.load.stop_writing)

    def _report(self, seconds: float, shown: int, faults: int) -> None:
        whole = self.scenario.seconds
        self.log(f"{seconds:.0f} of {whole:.0f} s, {shown} notifications shown, {faults} faults")
