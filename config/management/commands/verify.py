"""`manage.py verify`."""

import asyncio
import math
import random
import resource
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.verify.failures import failure_in
from config.verify.interrupts import handled, interruptible
from config.verify.outcome import Outcome
from config.verify.report import discard, recoveries, save, table
from config.verify.run import Run
from config.verify.scenarios import SCENARIOS, Scenario
from config.verify.site import Site
from config.verify.stage import OURS, PLAIN

HELP = """\
Prove the promises on this machine: changes are committed at a rate, clients follow them through real
processes, and meanwhile things are killed. In the end it is judged, client by client and stream by stream,
what was lost, repeated, reordered, shown to who may not see it, or shown though it was rolled back.

Everything runs in a folder of its own, on free ports: neither a running site nor its data are touched.
"""
EPILOG = """\
scenarios:
{scenarios}

examples:
  manage.py verify --local crash jitter
  manage.py verify --local --pattern both --seconds 20 chaos

In the output folder are, for each run, the report, a picture (lag.svg), the history (history.jsonl) and the
logs. The exit code is 0 if everything was run to its end, what was to happen in it happened, nothing at all
is wrong, and no notification took longer than the scenario allows; beside ours, the plain pattern (group_send
in save(), AsyncJsonWebsocketConsumer, the list layer) only shows the difference. The same seed writes the
same changes and breaks the same things; when exactly each process does what remains the machine's affair.

Ctrl-C ends everything that was started: a run that had begun is judged by what there is, others are left out,
and the exit code is 130 if nothing is wrong so far.
"""
#: What everything together has open, for each client: its socket, Daphne's, and those of its line.
FILES, FILES_OF_CLIENT = 512, 6


class Command(BaseCommand):
    help = HELP
    requires_system_checks: list[str] = []

    def create_parser(self, *args: Any, **kwargs: Any) -> Any:
        """Called first. The help has lines of its own."""
        scenarios = "\n".join(
            f"  {one.name:10} {one.says}\n{'':13}{one.figures}" for one in SCENARIOS.values()
        )
        epilog = EPILOG.format(scenarios=scenarios)
        return super().create_parser(
            *args, **kwargs, epilog=epilog, formatter_class=RawDescriptionHelpFormatter
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Called with the command's parser."""
        parser.add_argument("scenario", nargs="+", choices=sorted(SCENARIOS), help="see below")
        parser.add_argument(
            "--local",
            action="store_true",
            required=True,
            help="on this machine: the one way there is",
        )
        parser.add_argument(
            "--pattern", choices=(OURS, PLAIN, "both"), default=OURS, help="default: %(default)s"
        )
        parser.add_argument("--seconds", type=float, help="how long there is load, in each run")
        parser.add_argument(
            "--short", action="store_const", const=10.0, dest="seconds", help="10 seconds"
        )
        parser.add_argument("--rate", type=float, help="changes each second")
        parser.add_argument("--clients", type=int, help="how many follow")
        parser.add_argument("--every", type=float, help="seconds between faults")
        parser.add_argument(
            "--seed", type=int, help="of everything random; default: another each time"
        )
        parser.add_argument("--output", type=Path, help="default: verify/ in DATA_DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run each scenario by each pattern. Raises CommandError if something is wrong with ours."""
        wanted = ("seconds", "rate", "clients", "every")
        changes = {key: options[key] for key in wanted if options[key] is not None}
        if bad := [key for key, value in changes.items() if not 0 < value < math.inf]:
            raise CommandError(f"Expected more than 0, got --{bad[0]} {changes[bad[0]]:g}.")
        seed = options["seed"] if options["seed"] is not None else random.randrange(10**6)  # noqa: S311
        folder = (options["output"] or settings.DATA_DIR / "verify").resolve()
        self.stdout.write(f"The seed is {seed}; what comes of it goes to {folder}.")
        scenarios = [replace(SCENARIOS[name], **changes) for name in options["scenario"]]
        patterns = (OURS, PLAIN) if options["pattern"] == "both" else (options["pattern"],)
        runs = [(scenario, pattern) for scenario in scenarios for pattern in patterns]
        self.outcomes: list[Outcome] = []
        self.was_stopped = False
        with interruptible(), suppress(KeyboardInterrupt, asyncio.CancelledError):
            self._run_all(runs, seed, folder)
        # Coverage doesn't see the way out of asyncio.run.
        if self.outcomes:  # pragma: no branch
            self.stdout.write(table(self.outcomes))
        self._judge([one for one in self.outcomes if one.pattern == patterns[0]], folder)
        if self.was_stopped or len(self.outcomes) < len(runs):  # pragma: no branch
            raise CommandError("It was stopped before its end, and proves nothing.", returncode=130)

    def _judge(self, outcomes: Iterable[Outcome], folder: Path) -> None:
        """Raises CommandError if something is wrong with one of them."""
        wrong = [f"{one.scenario.name} ({', '.join(one.wrong)})" for one in outcomes if one.wrong]
        if wrong:  # pragma: no branch
            text = f"Something is wrong: {'; '.join(wrong)}. The reports are in {folder}."
            raise CommandError(text)

    def _run_all(self, runs: Iterable[tuple[Scenario, str]], seed: int, folder: Path) -> None:
        """Run one after the other, until one is stopped. Raises CommandError where one can't be run."""
        try:
            for scenario, pattern in runs:  # pragma: no branch  # as in handle
                self._run(scenario, pattern, seed, folder / f"{scenario.name}-{pattern}")
                if self.was_stopped:  # pragma: no branch  # as in handle
                    return
        except Exception as error:
            raise CommandError(f"{self.prefix}: {failure_in(error)}") from error

    def _run(self, scenario: Scenario, pattern: str, seed: int, folder: Path) -> None:
        self.begun, self.prefix = time.monotonic(), f"{scenario.name}, {pattern}"
        folder.mkdir(parents=True, exist_ok=True)
        discard(folder)
        _allow_files(FILES + FILES_OF_CLIENT * scenario.clients)
        self.say(f"{scenario.says} {scenario.figures}.")
        random.seed(seed)
        with Site(folder) as site:
            run = Run(scenario, pattern, seed, site, self.say)
            outcome = asyncio.run(_play(run))
        self.was_stopped = run.was_stopped
        self.outcomes.append(outcome)
        self.stdout.write("\n".join([table([outcome]), *recoveries(outcome)]))
        save(outcome, folder)

    def say(self, sentence: str) -> None:
        """Tell how it goes."""
        seconds = time.monotonic() - self.begun
        self.stdout.write(f"{seconds:6.1f} s  {self.prefix}: {sentence}")
        self.stdout.flush()


async def _play(run: Run) -> Outcome:
    loop = asyncio.get_running_loop()
    with handled(lambda *_: loop.call_soon_threadsafe(run.stop)):
        return await run.play()


def _allow_files(count: int) -> None:
    """Let this process, and those it starts, have so many files open, if the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
