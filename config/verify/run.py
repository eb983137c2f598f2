"""One run: a site with its writers and clients, what is broken meanwhile, and what came of it."""

import asyncio
import time
from collections.abc import Callable

from .checker import judge
from .crowd import Crowd
from .faults import Faults, cut_now_and_then, pass_time
from .history import Record
from .outcome import Outcome
from .scenarios import Scenario
from .site import Site
from .stage import Stage

PROGRESS_SECONDS = 5.0


class Run:
    """A scenario, by one pattern, in a site that is up. ``say`` is told how it goes."""

    def __init__(
        self, scenario: Scenario, pattern: str, seed: int, site: Site, say: Callable[[str], None]
    ) -> None:
        self.scenario, self.pattern, self.seed = scenario, pattern, seed
        self.site, self.say = site, say
        self.stage = Stage(site, scenario, pattern, seed)
        self.history: list[Record] = []
        self.over = asyncio.Event()
        self.was_stopped = False
        #: The task to cancel, as long as there is nothing to judge.
        self._starting: asyncio.Task[object] | None = None

    def stop(self) -> None:
        """End it early: what there is so far is judged. While nobody writes yet, that is nothing."""
        self.was_stopped = True
        self.over.set()
        if self._starting is not None:
            self._starting.cancel()

    async def play(self) -> Outcome:
        """Run to the end, and judge. Raises CancelledError if it is stopped before it begins."""
        self._starting = asyncio.current_task()
        cast = await asyncio.to_thread(self.stage.set_up)
        async with Crowd(self.pattern, self.history, self.say) as crowd:
            has_lines = self.scenario.cut_every is not None
            await crowd.let_in(cast["listeners"], self.site.daphne_port, has_lines=has_lines)
            self.say(f"{len(crowd.listeners)} clients follow.")
            begun, before = time.time(), await asyncio.to_thread(self.stage.transactions)
            await asyncio.to_thread(self.stage.start_writing)
            self._starting = None
            await self._load(crowd)
            self.say("It is over; waiting for what is still missing.")
            committed = await asyncio.to_thread(self.stage.committed, cast["streams"])
            await crowd.wait_for(committed)
            transactions = await asyncio.to_thread(self.stage.transactions) - before
        history = [*committed, *self.history, *crowd.observed()]
        clients = len(crowd.listeners)
        return Outcome(
            scenario=self.scenario,
            pattern=self.pattern,
            begun=begun,
            history=history,
            verdict=judge(history),
            failed=self.stage.failed(),
            kilobytes=sum(one.received for one in crowd.listeners) / 1000 / clients,
            # A server that was killed counts anew.
            transactions=transactions / clients if transactions > 0 else None,
        )

    async def _load(self, crowd: Crowd) -> None:
        """Break things until the time is over, or somebody stops it; then everything is whole again."""
        scenario = self.scenario
        faults = Faults(self.site, scenario.harms, f"{self.seed} faults", self.over, self.history)
        async with asyncio.TaskGroup() as group:
            group.create_task(faults.run(scenario.every))
            for line, name in crowd.lines:
                every, seed = scenario.cut_every or 0.0, f"{self.seed} {name}"
                cutting = cut_now_and_then(line, name, every, seed, self.over, self.history)
                group.create_task(cutting)
            end = time.monotonic() + scenario.seconds
            while (left := end - time.monotonic()) > 0 and not self.over.is_set():
                await pass_time(min(left, PROGRESS_SECONDS), self.over)
                self._report(scenario.seconds - end + time.monotonic(), crowd.heard, faults.count)
            self.over.set()
        await asyncio.to_thread(self.stage.stop_writing)

    def _report(self, seconds: float, heard: int, harms: int) -> None:
        self.say(
            f"{seconds:.0f} of {self.scenario.seconds:.0f} s, {heard} notifications heard, {harms} faults"
        )
