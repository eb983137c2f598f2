"""The command `python -m tests.rig`: runs scenarios, and judges them."""

import asyncio
import random
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ..interrupts import handled, interruptible
from ..keeper import keeper
from ..reports.outcome import Outcome
from ..reports.report import discard, recoveries, save, table
from ..run import Run
from ..scenarios import Scenario
from ..site import Site
from .failures import failure_in
from .options import Options, options

#: Files that everything together has open, and for each client: its socket, Daphne's, and those of its line.
FILES, FILES_OF_CLIENT = 512, 6
#: The exit codes: a proof, no proof, and stopped before the end.
CLEAN, WRONG, STOPPED = 0, 1, 130


class Command:
    """Runs each scenario by each pattern, one after the other, and prints how it goes."""

    def __init__(self, chosen: Options) -> None:
        self.chosen = chosen
        self.outcomes: list[Outcome] = []
        self.was_stopped = False
        self.prefix, self.begun = "", time.monotonic()

    def run(self) -> int:
        """Return the exit code."""
        chosen = self.chosen
        print(f"The seed is {chosen.seed}; the reports go to {chosen.folder}.", flush=True)
        try:
            with interruptible(), suppress(KeyboardInterrupt, asyncio.CancelledError):
                self._run_all()
        except Exception as error:  # noqa: BLE001  # failure_in raises what is a bug
            return _fail(f"{self.prefix}: {failure_in(error)}")
        finally:
            keeper().end()
        # Coverage doesn't see the way out of asyncio.run.
        if self.outcomes:  # pragma: no branch
            print(table(self.outcomes))
        return self._judge([one for one in self.outcomes if one.pattern == chosen.patterns[0]])

    def _judge(self, outcomes: Iterable[Outcome]) -> int:
        wrong = [f"{one.scenario.name} ({', '.join(one.wrong)})" for one in outcomes if one.wrong]
        if wrong:
            reports = f"The reports are in {self.chosen.folder}."
            return _fail(f"Something is wrong: {'; '.join(wrong)}. {reports}")
        if self.was_stopped or len(self.outcomes) < len(self.chosen.runs):
            return _fail("It was stopped before its end, and proves nothing.", STOPPED)
        return CLEAN

    def _run_all(self) -> None:
        for scenario, pattern in self.chosen.runs:  # pragma: no branch  # as in run
            self._run(scenario, pattern)
            if self.was_stopped:  # pragma: no branch  # as in run
                return

    def _run(self, scenario: Scenario, pattern: str) -> None:
        self.begun, self.prefix = time.monotonic(), f"{scenario.name}, {pattern}"
        folder = self.chosen.folder / f"{scenario.name}-{pattern}"
        folder.mkdir(parents=True, exist_ok=True)
        discard(folder)
        allow_files(FILES + FILES_OF_CLIENT * scenario.clients)
        self._say(f"{scenario.description} {scenario.figures}.")
        random.seed(self.chosen.seed)
        with Site(folder) as site:
            run = Run(scenario, pattern, self.chosen.seed, site, self._say)
            outcome = asyncio.run(_complete(run))
        self.was_stopped = run.was_stopped
        self.outcomes.append(outcome)
        print("\n".join([table([outcome]), *recoveries(outcome)]))
        save(outcome, folder)

    def _say(self, sentence: str) -> None:
        seconds = time.monotonic() - self.begun
        print(f"{seconds:6.1f} s  {self.prefix}: {sentence}", flush=True)


def main(words: Sequence[str]) -> int:
    """Run the command with these words. Return its exit code."""
    return Command(options(words)).run()


def allow_files(count: int) -> None:
    """Let this process, and those it starts, have so many files open, if the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _complete(run: Run) -> Outcome:
    loop = asyncio.get_running_loop()
    with handled(lambda *_: loop.call_soon_threadsafe(run.stop)):
        return await run.complete()


def _fail(sentence: str, code: int = WRONG) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return code
