"""`manage.py pillarbox stats`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS

from ...formats import duration, number, rate
from ...monitoring.backlog import Backlog
from ...monitoring.diagnosis import diagnose
from ...monitoring.facts import facts
from ...monitoring.minute_counts import RATE_SECONDS, Rates
from ..command_line import ExitCode

HELP = """
Print the overall status, the backlog with its age, and the number of failed rows.

They are the same as on the admin's dashboard. The command is cheap: it may run each second, even with
millions of old rows. For alerts by cron: --fail-over SECONDS exits with 1 if a due row has waited for
longer, and --fail-failed exits with 1 if there are failed rows that have not been replayed.
"""


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--fail-over", type=float, metavar="SECONDS", help="exit with 1 above this lag"
    )
    parser.add_argument(
        "--fail-failed", action="store_true", help="exit with 1 if failed rows are not replayed"
    )


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Print the status and the figures."""
    seen = facts(using=DEFAULT_DB_ALIAS)
    found, flow, diagnosis = seen.backlog, seen.rates, diagnose(seen)
    if options["json"]:
        status = {"state": diagnosis.state, "reasons": diagnosis.reasons}
        stdout.write(json.dumps({**status, **asdict(found), "rates": asdict(flow)}))
    else:
        reasons = [f"  {reason}" for reason in diagnosis.reasons]
        stdout.write("\n".join([diagnosis.state, *reasons, *_figures(found, flow)]))
    most = options["fail_over"]
    is_late = most is not None and (found.lag_seconds or 0) > most
    has_failed = options["fail_failed"] and found.unreplayed > 0
    return ExitCode.FINDINGS if is_late or has_failed else ExitCode.DONE


def _figures(found: Backlog, flow: Rates) -> list[str]:
    more = " at least" if found.is_more else ""
    oldest, lag = found.oldest_seconds, found.lag_seconds
    waits = "" if oldest is None else f", the oldest for {duration(oldest)}"
    lags = "" if lag is None else f"; lag {duration(lag)}"
    return [
        f"Pending{more}: {number(found.pending)}{waits}{lags}.",
        f"  without an offset: {number(found.unnumbered)};"
        f" waiting for another attempt: {number(found.retrying)}.",
        f"Failed: {number(found.failed)}, of which {number(found.unreplayed)} are not replayed;"
        f" in the last 24 hours: {number(found.failed_lately)}.",
        f"In the last {number(RATE_SECONDS)} s: {rate(flow.captured)} rows/s in, {rate(flow.published)} out,"
        f" {rate(flow.obsolete)} obsolete.",
    ]
