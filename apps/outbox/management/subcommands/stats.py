"""`manage.py outbox stats`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS

from ...backlog import Backlog, backlog
from ...health import Verdict, judge
from ...instances import known
from ...minutes import RATE_SECONDS, Rates, rates
from ...running import running
from ...shell import ExitCode

HELP = """
Say how it is, how much waits, for how long, and how much failed.

The same verdict and figures as on the admin's dashboard. Cheap: it may run each second, also with millions
of old rows. With --fail-over SECONDS it exits with 1 if a row that could have been published has waited for
longer, or with --fail-failed if there are failed rows that nobody replayed: for a cron job that alerts.
"""


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--fail-over", type=float, metavar="SECONDS", help="exit with 1 above this lag"
    )
    parser.add_argument("--fail-failed", action="store_true", help="exit with 1 if rows are failed")


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Print the figures."""
    found, flow = backlog(using=DEFAULT_DB_ALIAS), rates(using=DEFAULT_DB_ALIAS)
    verdict = judge(found, flow, running(known(using=DEFAULT_DB_ALIAS)))
    if options["json"]:
        stdout.write(json.dumps({**asdict(verdict), **asdict(found), "rates": asdict(flow)}))
    else:
        stdout.write("\n".join([*_verdict(verdict), *_figures(found, flow)]))
    most = options["fail_over"]
    is_late = most is not None and (found.lag_seconds or 0) > most
    has_failed = options["fail_failed"] and found.unreplayed > 0
    return ExitCode.FINDINGS if is_late or has_failed else ExitCode.DONE


def _verdict(verdict: Verdict) -> list[str]:
    return [verdict.state, *(f"  {reason}" for reason in verdict.reasons)]


def _figures(found: Backlog, flow: Rates) -> list[str]:
    more = " at least" if found.is_more else ""
    oldest = (
        "" if found.oldest_seconds is None else f", the oldest for {found.oldest_seconds:.1f} s"
    )
    lag = "" if found.lag_seconds is None else f"; lag {found.lag_seconds:.1f} s"
    return [
        f"Pending{more}: {found.pending}{oldest}{lag}.",
        f"  without an offset: {found.unnumbered}; waiting for another attempt: {found.retrying}.",
        f"Failed: {found.failed}, of which nobody replayed {found.unreplayed};"
        f" in the last 24 hours: {found.failed_lately}.",
        f"In the last {RATE_SECONDS:.0f} s: {flow.captured:.1f} rows/s in, {flow.published:.1f} out.",
    ]
