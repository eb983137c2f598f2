"""`manage.py pillarbox prune`."""

import json
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS

from ...logs import get_logger
from ...stream.retention import discard, prunable, prune, waiting
from ...types.live_models import object_type_names
from ..command_line import ExitCode, confirm

HELP = """
Delete published rows past their retention.

Beat prunes every ten minutes. Use this command on sites without beat, or right after RETENTION_SECONDS was
lowered. It uses small transactions, so others don't wait for it, and it may be stopped at any time.
Pending and failed rows are never deleted, with one exception: --object-type TYPE deletes the waiting rows of
a type that was removed for good, which no code will ever render. No subscriber has seen or will miss them.
"""

logger = get_logger(__name__)


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument("--dry-run", action="store_true", help="only print how many rows there are")
    parser.add_argument(
        "--object-type", metavar="TYPE", help="delete the waiting rows of a removed object type"
    )
    parser.add_argument("--yes", action="store_true", help="with --object-type: don't ask")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Delete rows, or count those that would be deleted."""
    is_dry = options["dry_run"]
    if (object_type := options["object_type"]) is not None:
        rows = _discard(object_type, is_dry=is_dry, is_confirmed=options["yes"])
    else:
        rows = prunable(using=DEFAULT_DB_ALIAS) if is_dry else prune(using=DEFAULT_DB_ALIAS).rows
    if options["json"]:
        stdout.write(
            json.dumps({"pruned": 0 if is_dry else rows, "prunable": rows if is_dry else 0})
        )
    else:
        stdout.write(f"{rows} rows {'would be' if is_dry else 'are'} deleted.")
    return ExitCode.DONE


def _discard(object_type: str, *, is_dry: bool, is_confirmed: bool) -> int:
    """Delete the waiting rows of a type that is not registered, or count them."""
    if object_type in object_type_names():
        raise CommandError(
            f"--object-type: {object_type!r} is registered; workers render its rows."
        )
    rows = waiting(object_type, using=DEFAULT_DB_ALIAS).count()
    if is_dry or not rows:
        return rows
    question = f"Delete {rows} rows of {object_type!r} that were never announced?"
    confirm(question, is_confirmed=is_confirmed)
    deleted = discard(object_type, using=DEFAULT_DB_ALIAS)
    extra = {"action": "rows_discarded", "object_type": object_type, "rows": deleted}
    logger.warning("Deleted rows of a removed object type", extra=extra)
    return deleted
