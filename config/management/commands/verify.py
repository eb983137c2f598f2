"""`manage.py verify`."""

import asyncio
import random
import resource
import signal
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.embedded import EmbeddedServerError
from config.verify.report import recoveries, save, table
from config.verify.run import OURS, PLAIN, Outcome, Run
from config.verify.scenarios import SCENARIOS, Scenario
from config.verify.site import Site

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
logs. The exit code is 0 if nothing at all is wrong, and no notification took longer than the scenario allows;
beside ours, the plain pattern (group_send in save(), AsyncJsonWebsocketConsumer, the list layer) only shows
the difference. The same seed writes the same changes and breaks the same things; when exactly each process
does what remains the machine's affair. Ctrl-C ends a run early, and judges what there is.
"""
#: What everything together has open, for each client: its socket, Daphne's, and those of its line.
FILES, FILES_OF_CLIENT = 512, 6


class Command(BaseCommand):
    help = HELP
    requires_system_checks: list[str] = []

    def create_parser(self, *args: Any, **kwargs: Any) -> Any:
        """Called first. The help has lines of its own."""
        scenarios = "\n".join(f"  {one.name:10} {one.says}" for one in SCENARIOS.values())
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
        if bad := [key for key, value in changes.items() if value <= 0]:
            raise CommandError(f"Expected more than 0, got --{bad[0]} {changes[bad[0]]:g}.")
        seed = options["seed"] if options["seed"] is not None else random.randrange(10**6)  # noqa: S311
        folder = (options["output"] or settings.DATA_DIR / "verify").resolve()
        both = options["pattern"] == "both"
        self.stdout.write(f"The seed is {seed}; what comes of it goes to {folder}.")
        outcomes: list[Outcome] = []
        for name in options["scenario"]:
            for pattern in (OURS, PLAIN) if both else (options["pattern"],):
                scenario = replace(SCENARIOS[name], **changes)
                outcome = self._run(scenario, pattern, seed, folder / f"{name}-{pattern}")
                outcomes.append(outcome)
        self.stdout.write(table(outcomes))
        judged = [one for one in outcomes if one.pattern == OURS or not both]
        wrong = [one.scenario.name for one in judged if not one.is_clean]
        if wrong:  # pragma: no branch  # coverage doesn't see the way out of asyncio.run
            raise CommandError(
                f"Something is wrong: {', '.join(wrong)}. The reports are in {folder}."
            )

    def _run(self, scenario: Scenario, pattern: str, seed: int, folder: Path) -> Outcome:
        folder.mkdir(parents=True, exist_ok=True)
        _allow_files(FILES + FILES_OF_CLIENT * scenario.clients)
        self.begun, self.prefix = time.monotonic(), f"{scenario.name}, {pattern}"
        self.say(scenario.says)
        random.seed(seed)
        try:
            with Site(folder) as site:
                outcome = asyncio.run(_play(Run(scenario, pattern, seed, site, self.say)))
        except EmbeddedServerError as error:
            raise CommandError(str(error)) from None
        save(outcome, folder)
        self.stdout.write("\n".join([table([outcome]), *recoveries(outcome)]))
        return outcome

    def say(self, sentence: str) -> None:
        """Tell how it goes."""
        seconds = time.monotonic() - self.begun
        self.stdout.write(f"{seconds:6.1f} s  {self.prefix}: {sentence}")
        self.stdout.flush()


async def _play(run: Run) -> Outcome:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stop)
    return await run.play()


def _allow_files(count: int) -> None:
    """Let this process, and those it starts, have so many files open, if the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
