"""The command `python -m tests.rig`: runs scenarios and checks their histories."""

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

#: Open files needed in any case, and per client: its own socket, Daphne's, and those of the proxy.
FILES, FILES_OF_CLIENT = 512, 6
#: The exit codes: no errors, errors, and stopped early.
CLEAN, WRONG, STOPPED = 0, 1, 130


class Command:
    """The command: runs each scenario by each pattern, one after the other, and prints its progress."""

    def __init__(self, chosen: Options) -> None:
        self.chosen = chosen
        self.outcomes: list[Outcome] = []
        self.was_stopped = False
        self.prefix, self.begun = "", time.monotonic()

    def run(self) -> int:
        """Run everything, and return the exit code."""
        chosen = self.chosen
        print(f"The seed is {chosen.seed}; the reports go to {chosen.folder}.", flush=True)
        try:
            with interruptible(), suppress(KeyboardInterrupt, asyncio.CancelledError):
                self._run_all()
        except Exception as error:  # noqa: BLE001  # failure_in raises it again if it is a bug
            return _fail(f"{self.prefix}: {failure_in(error)}")
        finally:
            keeper().end()
        # Coverage doesn't trace how asyncio.run returns.
        if self.outcomes:  # pragma: no branch
            print(table(self.outcomes))
        return self._conclude([one for one in self.outcomes if one.pattern == chosen.patterns[0]])

    def _conclude(self, outcomes: Iterable[Outcome]) -> int:
        wrong = [f"{one.scenario.name} ({', '.join(one.wrong)})" for one in outcomes if one.wrong]
        if wrong:
            reports = f"The reports are in {self.chosen.folder}."
            return _fail(f"Something is wrong: {'; '.join(wrong)}. {reports}")
        if self.was_stopped or len(self.outcomes) < len(self.chosen.runs):
            return _fail("The run was stopped before its end, so it proves nothing.", STOPPED)
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
        self._print_progress(f"{scenario.description} {scenario.figures}.")
        random.seed(self.chosen.seed)
        with Site(folder) as site:
            run = Run(scenario, pattern, self.chosen.seed, site, self._print_progress)
            outcome = asyncio.run(_complete(run))
        self.was_stopped = run.was_stopped
        self.outcomes.append(outcome)
        print("\n".join([table([outcome]), *recoveries(outcome)]))
        save(outcome, folder)

    def _print_progress(self, sentence: str) -> None:
        seconds = time.monotonic() - self.begun
        print(f"{seconds:6.1f} s  {self.prefix}: {sentence}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command with these arguments, and return its exit code."""
    return Command(options(arguments)).run()


def allow_files(count: int) -> None:
    """Raise the limit of open files for this process and its children, as far as the system allows."""
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
