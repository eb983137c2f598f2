"""The options of `manage.py pillarbox doctor`, its output and its exit code."""

import time
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper
from django.core.management.color import color_style

from ...layer.addresses import broker_url
from ...monitoring.doctor.checklist import checklist
from ...monitoring.doctor.examination import examine
from ...monitoring.doctor.findings import Severity
from ...monitoring.doctor.output import Table, as_json
from ..command_line import ExitCode

HELP = """\
Check the running system, and say how to mend each finding.

The checks query the database, Redis, the broker, the channel layer and the processes' reports, from
this host and with this environment's settings. They send one message through the channel layer and
request one wake-up. They change nothing, so you can run them at any time, on any host of the site.

Each check has a few seconds. A check that hangs or raises is a finding, and the other checks still
run; checks that depend on a failing one are skipped. A finding says what is wrong, why it matters,
and what to do. A check's result is `ok`, `warn` (it works, but needs attention) or `FAIL`
(notifications don't arrive, or may get lost).

Exits with 0 if there are no findings, with 1 if there are any (warnings count, and so does an
unreachable database), and with 2 if the command could not be run.
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
        help="run only these checks: " + ", ".join(names),
    )


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Run the checks, and return the exit code."""
    chosen = [
        check
        for check in checklist(broker_url())
        if options["only"] is None or check.name in options["only"]
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
    is_fine = all(result.severity is Severity.OK for result in results)
    return ExitCode.DONE if is_fine else ExitCode.FINDINGS
