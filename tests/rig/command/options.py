"""The options of `python -m tests.rig`."""

import math
import random
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings

from ..scenarios import OURS, PLAIN, SCENARIOS, Scenario

HELP = """\
Prove the promises on this machine: changes are committed at a rate, clients follow them through real
processes, and meanwhile things are killed. In the end a checker judges what was lost, repeated, reordered,
shown to a client that may not see it, or published or shown though it was rolled back.

Everything runs in a folder of its own, on free ports: neither a running site nor its data are touched.
"""
EPILOG = """\
scenarios:
{scenarios}

examples:
  python -m tests.rig crash jitter
  python -m tests.rig --pattern both --seconds 20 chaos

In the output folder are, for each run, the report, a picture (lag.svg), the history (history.jsonl) and the
logs. The exit code is 0 if each run came to its end, all that the scenario has happened in it, there are no
errors at all, and no notification took longer than the limit. Beside ours, the plain pattern (group_send in
save(), AsyncJsonWebsocketConsumer, the list layer) only shows the difference. The same seed writes the same
changes and causes the same faults; when exactly each process does what remains the machine's affair.

Ctrl-C ends everything that was started: a run that had begun is judged by what there is, others are left out,
and the exit code is 130 if nothing is wrong so far.
"""
#: Options that change a scenario, with their help.
CHANGES = {
    "seconds": "how long there is load, in each run",
    "rate": "changes each second",
    "clients": "how many follow",
    "every": "seconds between faults",
    "worst_lag": "how long no notification may take longer than; inf for any time",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What is to be run, and where the reports go."""

    runs: tuple[tuple[Scenario, str], ...]
    patterns: tuple[str, ...]
    seed: int
    folder: Path


def options(words: Sequence[str]) -> Options:
    """Return the options of a command line. Exits with a sentence if it is wrong."""
    command = parser()
    given = vars(command.parse_args(words))
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
        "--seed", type=int, help="of everything random; default: another each time"
    )
    command.add_argument("--output", type=Path, help="default: rig/ in DATA_DIR")
    return command
