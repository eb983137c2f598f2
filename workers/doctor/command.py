"""`manage.py outbox doctor`: its options, and how it ends."""

import time
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper
from django.core.management.color import color_style

from apps.outbox.shell import ExitCode

from .checklist import checklist
from .examination import examine
from .findings import Verdict
from .report import Table, as_json

HELP = """\
Look at the running system, and say what to do for each finding.

Asks the database, Redis, the broker, the channel layer and the processes, from this host and with
this environment's settings; sends one message through the channel layer and rings the bell. It
changes nothing, and may be run at any time, on any host of the site, as often as you like.

Each check has a few seconds. One that hangs or raises is a finding, and the others are made all the
same; what depends on something that fails is left out. A finding says what is wrong, why it matters,
and what to do. `ok`, `warn` (it works, and somebody should look) or `FAIL` (notifications don't
arrive, or may get lost).

Exits with 0 if nothing was found; with 1 if something was, were it a warning, or that the database
is away; and with 2 if it could not be run.
"""


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    names = [check.name for check in checklist()]
    parser.add_argument(
        "--json", action="store_true", help="print a JSON object instead of the table"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="check",
        choices=names,
        help="make only these checks: " + ", ".join(names),
    )


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Make the checks, and return the exit code."""
    chosen = [
        check for check in checklist() if options["only"] is None or check.name in options["only"]
    ]
    start = time.monotonic()
    table = None if options["json"] else Table(stdout, color_style(options["force_color"]))
    results = []
    for result in examine(chosen):
        results.append(result)
        if table is not None:
            table.add(result)
    seconds = time.monotonic() - start
    if table is None:
        stdout.write(as_json(results, seconds))
    else:
        table.end(results, seconds)
    is_fine = all(result.verdict is Verdict.OK for result in results)
    return ExitCode.DONE if is_fine else ExitCode.FINDINGS
