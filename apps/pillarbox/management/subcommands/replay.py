"""`manage.py pillarbox replay`."""

import json
import time
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS, connections

from ...exceptions import CriteriaError
from ...models import STATES, Replay
from ...replay.criteria import Criteria
from ...replay.decisions import cancel, decide
from ...replay.preview import preview
from ...replay.replay import BatchOutcome, carry_out_batch
from ..command_line import ExitCode, operator, reason
from ..progress import Progress
from ..replay_output import outcome_json, outcome_lines, preview_json, preview_lines

HELP = """
Announce failed rows again, or published ones with --resend.

All given filters must match; without filters, all failed rows match. Superseded rows (a newer row of the
same object exists, or the row was sent again) are left out unless --superseded is given. Failed rows that
were replayed before are always left out. Each row keeps its error and records who replayed it, when and as
which row; --reason is in the admin's log.

  manage.py pillarbox replay --cause 9f86d081884c7d65 --dry-run
  manage.py pillarbox replay --event UPDATE_TICKET --since 2h --by ann --reason "serializer fixed"
  manage.py pillarbox replay --resend --stream ticket:7 --by ann --reason "client lost its state"

It runs in the foreground, even without workers. Ctrl-C cancels it: rows announced so far stay announced, and
the same command continues with the rest. For a --resend, add the --after that it prints. If the command is
killed in another way, a worker continues.
"""
#: The interval at which the command checks while a worker carries out its replay, or the replay is blocked.
PAUSE_SECONDS = 0.2


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    which = parser.add_argument_group("which rows")
    which.add_argument("--pks", metavar="ROW,ROW", help="primary keys, separated by commas")
    which.add_argument("--state", choices=STATES, help="rows in this state")
    which.add_argument("--cause", help="fingerprint of the error, as the admin shows it")
    which.add_argument("--event", help="such as UPDATE_TICKET")
    which.add_argument("--object-type", metavar="TYPE", help="such as ticket")
    which.add_argument("--stream", help="such as ticket:7")
    which.add_argument(
        "--since", metavar="TIME", help="captured at this time or later: 2026-11-22T10:00, 2h, 3d"
    )
    which.add_argument("--until", metavar="TIME", help="captured before this time")
    which.add_argument("--search", dest="q", metavar="WORDS", help="as in the admin's search")
    which.add_argument("--after", metavar="ROW", help="rows with higher primary keys")
    how = parser.add_argument_group("how")
    how.add_argument("--resend", action="store_true", help="published rows, as new notifications")
    how.add_argument(
        "--current", action="store_true", help="the object's present state, not as recorded"
    )
    how.add_argument(
        "--superseded",
        action="store_true",
        help="also superseded rows",
    )
    how.add_argument("--by", metavar="USERNAME", help="your username (required without --dry-run)")
    how.add_argument("--reason", help="the reason, for the log (required without --dry-run)")
    how.add_argument("--dry-run", action="store_true", help="only print what would be announced")
    how.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Record the replay and carry it out. Raises CommandError for invalid arguments."""
    given = {name: options[name] for name in Criteria.__slots__ if options[name] is not None}
    try:
        criteria = Criteria.parse(given)
        found = preview(criteria, is_resend=options["resend"], using=DEFAULT_DB_ALIAS)
    except CriteriaError as error:
        raise CommandError(f"--{_option(error.field)}{str(error)[len(error.field) :]}") from None
    if options["dry_run"]:
        is_resend, is_current = options["resend"], options["current"]
        facts = preview_json(found, is_current=is_current)
        lines = preview_lines(found, criteria, is_resend=is_resend, is_current=is_current)
        _print(stdout, options, facts, lines)
        return ExitCode.DONE
    return _replay(criteria, found.last, options, stdout)


def _replay(
    criteria: Criteria, last: int, options: Mapping[str, Any], stdout: OutputWrapper
) -> int:
    replay = decide(
        criteria,
        reason=reason(options),
        by=operator(options["by"]),
        last=last,
        is_resend=options["resend"],
        is_current=options["current"],
        with_superseded=options["superseded"],
        using=DEFAULT_DB_ALIAS,
    )
    try:
        _follow(replay, Progress(stdout, replay.total), is_silent=options["json"])
    except KeyboardInterrupt:
        # Ctrl-C may have interrupted a query whose answer would still arrive on this connection.
        connections[DEFAULT_DB_ALIAS].close()
        cancel(replay.pk, by=operator(options["by"]), using=DEFAULT_DB_ALIAS)
    replay.refresh_from_db()
    _print(stdout, options, outcome_json(replay), outcome_lines(replay))
    if replay.cancelled_at is not None:
        return ExitCode.INTERRUPTED
    return ExitCode.FINDINGS if replay.superseded or replay.refused else ExitCode.DONE


def _follow(replay: Replay, progress: Progress, *, is_silent: bool) -> None:
    """Carry out the replay, or wait while a worker does, until it is over."""
    try:
        while (
            outcome := carry_out_batch(replay.pk, using=DEFAULT_DB_ALIAS)
        ) is not BatchOutcome.OVER:
            replay.refresh_from_db()
            if not is_silent:
                progress.show(replay.examined, replay.blocked_reason)
            if outcome is not BatchOutcome.MORE:
                time.sleep(PAUSE_SECONDS)
    finally:
        if not is_silent:
            progress.close()


def _print(
    stdout: OutputWrapper, options: Mapping[str, Any], facts: Any, sentences: list[str]
) -> None:
    stdout.write(json.dumps(facts) if options["json"] else "\n".join(sentences))


def _option(name: str) -> str:
    return {"q": "search"}.get(name, name.replace("_", "-"))
