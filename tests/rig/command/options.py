"""The command-line options of `python -m tests.rig`."""

import math
import random
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings

from ..scenarios import OURS, PLAIN, SCENARIOS, Scenario

HELP = """\
Prove the promises on this machine: writers commit changes, clients follow them through real processes, and
meanwhile processes and servers are killed. In the end a checker finds changes that were lost, repeated,
reordered, shown to a client that may not see them, or published or shown although they were rolled back.

Everything runs in a temporary folder, on free ports. A running site and its data are not touched.
"""
EPILOG = """\
scenarios:
{scenarios}

examples:
  python -m tests.rig crash jitter
  python -m tests.rig --pattern both --seconds 20 chaos

The output folder has each run's report, picture (lag.svg), history (history.jsonl) and logs.
The exit code is 0 if each run was completed, caused the faults of its scenario and has no errors, and no
notification took longer than the limit. The plain pattern (group_send in save(), AsyncJsonWebsocketConsumer,
the list layer) is for comparison: beside ours it doesn't affect the exit code. The same seed writes the same
changes and causes the same faults, but the timing of the processes differs from run to run.

Ctrl-C ends all processes. The history so far of a run under load is checked, later runs are left out, and the
exit code is 130 if no error was found.
"""
#: Options that override a scenario's values, with their help.
CHANGES = {
    "seconds": "how long each run is under load",
    "rate": "changes per second",
    "clients": "how many clients follow",
    "every": "seconds between faults",
    "worst_lag": "the most seconds that a notification may take; inf for no limit",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of a command line: the runs, and the folder for their reports."""

    runs: tuple[tuple[Scenario, str], ...]
    patterns: tuple[str, ...]
    seed: int
    folder: Path


def options(arguments: Sequence[str]) -> Options:
    """Parse a command line. Exits with a message if it is wrong."""
    command = parser()
    given = vars(command.parse_args(arguments))
    changes = {name: given[name] for name in CHANGES if given[name] is not None}
    for name, value in changes.items():
        if not value > 0 or (math.isinf(value) and name != "worst_lag"):
            command.error(f"Expected more than 0, got --{name.replace('_', '-')} {value:g}.")
    scenarios = [replace(SCENARIOS[name], **changes) for name in given["scenario"]]
    patterns = (OURS, PLAIN) if given["pattern"] == "both" else (given["pattern"],)
    return Options(
        runs=tuple((scenario, pattern) for scenario in scenarios for pattern in patterns),
        patterns=patterns,
        seed=random.randrange(10**6) if given["seed"] is None else given["seed"],
        folder=(given["output"] or settings.DATA_DIR / "rig").resolve(),
    )


def parser() -> ArgumentParser:
    """Return the parser of the command line."""
    scenarios = "\n".join(
        f"  {one.name:10} {one.description}\n{'':13}{one.figures}" for one in SCENARIOS.values()
    )
    command = ArgumentParser(
        "python -m tests.rig",
        description=HELP,
        epilog=EPILOG.format(scenarios=scenarios),
        formatter_class=RawDescriptionHelpFormatter,
    )
    command.add_argument("scenario", nargs="+", choices=sorted(SCENARIOS), help="see below")
    command.add_argument(
        "--pattern", choices=(OURS, PLAIN, "both"), default=OURS, help="default: %(default)s"
    )
    command.add_argument(
        "--short", action="store_const", const=10.0, dest="seconds", help="10 seconds"
    )
    for name, text in CHANGES.items():
        kind = int if name == "clients" else float
        command.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    command.add_argument(
        "--seed", type=int, help="seed of all random choices; default: a new one for each run"
    )
    command.add_argument("--output", type=Path, help="default: rig/ in DATA_DIR")
    return command
