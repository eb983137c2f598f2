"""One run: a site with its writers and clients, its faults, and its outcome."""

import asyncio
import time
from collections.abc import Callable

from .checker import judge
from .clients import Clients
from .faults import Faults, cut_now_and_then, pass_time
from .history import Record
from .load import Load
from .reports.outcome import Outcome
from .scenarios import PLAIN, Scenario
from .site import Site

PROGRESS_SECONDS = 5.0


class Run:
    """A scenario, by one pattern, in a site that is up. ``say`` is called with its progress."""

    def __init__(
        self, scenario: Scenario, pattern: str, seed: int, site: Site, say: Callable[[str], None]
    ) -> None:
        self.scenario, self.pattern, self.seed = scenario, pattern, seed
        self.site, self.say = site, say
        self.load = Load(site, scenario, pattern, seed)
        self.history: list[Record] = []
        self.over = asyncio.Event()
        self.was_stopped = False
        #: The task to cancel, as long as there is nothing to judge.
        self._starting: asyncio.Task[object] | None = None

    def stop(self) -> None:
        """End the run early. What there is so far is judged; before the writers write, there is nothing."""
        self.was_stopped = True
        self.over.set()
        if self._starting is not None:
            self._starting.cancel()

    async def complete(self) -> Outcome:
        """Run to the end, and judge. Raises CancelledError if it is stopped before it begins."""
        self._starting = asyncio.current_task()
        fixtures = await asyncio.to_thread(self.load.set_up)
        async with Clients(self.pattern, self.history, self.say) as clients:
            has_lines = self.scenario.cut_every is not None
            await clients.connect(fixtures, self.site.daphne_port, has_lines=has_lines)
            self.say(f"{len(clients.listeners)} clients follow.")
            begun, before = time.time(), await asyncio.to_thread(self.site.transactions)
            await asyncio.to_thread(self.load.start_writing)
            self._starting = None
            await self._break(clients)
            self.say("It is over. Waiting for missing notifications.")
            committed = await asyncio.to_thread(self.site.committed)
            await clients.wait_for(committed)
            transactions = await asyncio.to_thread(self.site.transactions) - before
        history = [*committed, *self.site.published(), *self.history, *clients.observed()]
        count = len(clients.listeners)
        return Outcome(
            scenario=self.scenario,
            pattern=self.pattern,
            begun=begun,
            history=history,
            result=judge(history, has_journal=self.pattern != PLAIN),
            failed=self.site.failed(),
            kilobytes=sum(one.characters for one in clients.listeners) / 1000 / count,
            # A server that was killed counts anew.
            transactions=transactions / count if transactions > 0 else None,
        )

    async def _break(self, clients: Clients) -> None:
        """Cause faults until the time is over, or the run is stopped. Then everything is whole again."""
        scenario = self.scenario
        faults = Faults(self.site, scenario.faults, f"{self.seed} faults", self.over, self.history)
        async with asyncio.TaskGroup() as group:
            group.create_task(faults.run(scenario.every))
            for line, name in clients.lines:
                every, seed = scenario.cut_every or 0.0, f"{self.seed} {name}"
                cutting = cut_now_and_then(line, name, every, seed, self.over, self.history)
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
        self.say(f"{seconds:.0f} of {whole:.0f} s, {shown} notifications shown, {faults} faults")
