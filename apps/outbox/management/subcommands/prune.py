"""`manage.py outbox prune`."""

import json
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS

from ...retention import prunable, prune
from ...shell import ExitCode

HELP = """
Delete published rows past their retention.

Beat does it every ten minutes; this is for sites without beat, and for who lowered RETENTION_SECONDS and
doesn't want to wait. In small transactions: nobody waits for it, and it may be stopped at any time.
Pending and failed rows are never deleted.
"""


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument("--dry-run", action="store_true", help="only say how many rows there are")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Prune, or count what could be."""
    is_dry = options["dry_run"]
    rows = prunable(using=DEFAULT_DB_ALIAS) if is_dry else prune(using=DEFAULT_DB_ALIAS).rows
    if options["json"]:
        stdout.write(
            json.dumps({"pruned": 0 if is_dry else rows, "prunable": rows if is_dry else 0})
        )
    else:
        stdout.write(f"{rows} rows {'would be' if is_dry else 'are'} deleted.")
    return ExitCode.DONE
