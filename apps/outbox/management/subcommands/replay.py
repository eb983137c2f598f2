"""`manage.py outbox replay`."""

import json
import time
from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS, connections

from ...criteria import Criteria
from ...exceptions import CriteriaError
from ...models import STATES, Replay
from ...preview import Preview, preview
from ...progress import Progress
from ...replay import Turn, cancel, carry_out_batch, decide
from ...shell import ExitCode
from ...verdicts import SUPERSEDED

HELP = """
Announce failed rows again, or published ones with --resend.

All filters that are given must match; without any, all failed rows are meant. A row that newer rows of the
same object follow, or that was sent again since, is left out, unless --superseded; a failed one that was
replayed before always is. Each row keeps its error; who replayed it, when and as what is recorded, and
--reason is in the admin's log.

  manage.py outbox replay --cause 9f86d081884c7d65 --dry-run
  manage.py outbox replay --event UPDATE_TICKET --since 2h --by ann --reason "serializer mended"
  manage.py outbox replay --resend --stream ticket:7 --by ann --reason "client lost its state"

It runs in the foreground, also without workers. Ctrl-C cancels: what was announced stays, and the same
command takes up the rest; of a --resend add the --after that it prints. Killed otherwise, a worker goes on.
"""
#: While a worker carries out what this command decided, or something hinders it, it looks so often.
PAUSE_SECONDS = 0.2


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    which = parser.add_argument_group("which rows")
    which.add_argument("--pks", metavar="ROW,ROW", help="primary keys, separated by commas")
    which.add_argument("--state", choices=STATES, help="rows in that state")
    which.add_argument("--cause", help="fingerprint of the error, as the admin shows it")
    which.add_argument("--event", help="such as UPDATE_TICKET")
    which.add_argument("--object-type", metavar="TYPE", help="such as ticket")
    which.add_argument("--stream", help="such as ticket:7")
    which.add_argument(
        "--since", metavar="TIME", help="captured then or later: 2026-11-22T10:00, 2h, 3d"
    )
    which.add_argument("--until", metavar="TIME", help="captured before that")
    which.add_argument("--search", dest="q", metavar="WORDS", help="as in the admin's search")
    which.add_argument("--after", metavar="ROW", help="rows with higher primary keys")
    how = parser.add_argument_group("how")
    how.add_argument("--resend", action="store_true", help="published rows, as new notifications")
    how.add_argument(
        "--current", action="store_true", help="the present state, not what was recorded"
    )
    how.add_argument(
        "--superseded",
        action="store_true",
        help="also rows that newer ones follow, or repeat",
    )
    how.add_argument("--by", metavar="USERNAME", help="who decides (required, but for --dry-run)")
    how.add_argument("--reason", help="why, for the log (required, but for --dry-run)")
    how.add_argument("--dry-run", action="store_true", help="only say what it would be about")
    how.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Decide, and carry it out. Raises CommandError for what makes no sense."""
    given = {name: options[name] for name in Criteria.__slots__ if options[name] is not None}
    try:
        criteria = Criteria.parse(given)
        found = preview(criteria, is_resend=options["resend"], using=DEFAULT_DB_ALIAS)
    except CriteriaError as error:
        raise CommandError(f"--{_option(error.field)}{str(error)[len(error.field) :]}") from None
    if options["dry_run"]:
        _say(stdout, options, _facts(found, options), _sentences(found, criteria, options))
        return ExitCode.DONE
    return _replay(criteria, found.last, options, stdout)


def _replay(
    criteria: Criteria, last: int, options: Mapping[str, Any], stdout: OutputWrapper
) -> int:
    reason = (options["reason"] or "").strip()
    if not reason:
        raise CommandError("--reason: expected why; it is kept in the log.")
    replay = decide(
        criteria,
        by=_operator(options["by"]),
        reason=reason,
        last=last,
        is_resend=options["resend"],
        is_current=options["current"],
        with_superseded=options["superseded"],
        using=DEFAULT_DB_ALIAS,
    )
    try:
        _follow(replay, Progress(stdout, replay.total), is_silent=options["json"])
    except KeyboardInterrupt:
        # It may have come in the middle of a query: PostgreSQL's answer is still to come on this connection.
        connections[DEFAULT_DB_ALIAS].close()
        cancel(replay.pk, by=_operator(options["by"]), using=DEFAULT_DB_ALIAS)
    replay.refresh_from_db()
    _say(stdout, options, _outcome(replay), _report(replay))
    if replay.cancelled_at is not None:
        return ExitCode.INTERRUPTED
    return ExitCode.FINDINGS if replay.superseded or replay.refused else ExitCode.DONE


def _operator(name: str | None) -> Any:
    users = get_user_model()
    if not name:
        raise CommandError(f"--by: expected your {users.USERNAME_FIELD}: it is kept in the log.")
    try:
        return users._default_manager.get_by_natural_key(name)
    except users.DoesNotExist:
        raise CommandError(f"--by: there is no user {name!r}.") from None


def _follow(replay: Replay, progress: Progress, *, is_silent: bool) -> None:
    """Carry out a replay, or wait while a worker does, until it is over."""
    try:
        while (turn := carry_out_batch(replay.pk, using=DEFAULT_DB_ALIAS)) is not Turn.OVER:
            replay.refresh_from_db()
            if not is_silent:
                progress.show(replay.looked_at, replay.hindrance)
            if turn is not Turn.MORE:
                time.sleep(PAUSE_SECONDS)
    finally:
        if not is_silent:
            progress.close()


def _say(
    stdout: OutputWrapper, options: Mapping[str, Any], facts: Any, sentences: list[str]
) -> None:
    stdout.write(json.dumps(facts) if options["json"] else "\n".join(sentences))


def _facts(found: Preview, options: Mapping[str, Any]) -> dict[str, Any]:
    outcomes = found.current if options["current"] else found.recorded
    return {
        "total": found.total,
        "replayed": found.replayed,
        "tried": found.tried,
        "announced": outcomes.get("", 0),
        "left_out": {reason: rows for reason, rows in outcomes.items() if reason},
        "causes": [cause._asdict() for cause in found.causes],
        "events": [kind._asdict() for kind in found.kinds],
    }


def _sentences(found: Preview, criteria: Criteria, options: Mapping[str, Any]) -> list[str]:
    state = "published" if options["resend"] else "failed"
    outcomes = found.current if options["current"] else found.recorded
    said = [f"{found.total} {state} rows match: {criteria}."]
    if found.replayed:
        said.append(f"{found.replayed} of them were replayed before.")
    if found.tried:
        oldest = (
            "" if found.tried == found.total else f"Of the {found.tried} oldest of the others, "
        )
        said.append(f"{oldest}{outcomes.get('', 0)} would be announced.")
        said += [f"  {rows} not: {reason}" for reason, rows in outcomes.items() if reason]
    said += [
        f"  {c.rows} by {c.fingerprint}: {c.error_type}: {c.error_message[:80]}"
        for c in found.causes
    ]
    said += [f"  {kind.rows} {kind.event} of {kind.object_type}" for kind in found.kinds]
    return said


def _outcome(replay: Replay) -> dict[str, Any]:
    return {
        "replay": str(replay.pk),
        "total": replay.total,
        "announced": replay.announced,
        "superseded": replay.superseded,
        "refused": replay.refused,
        "refusals": replay.refusals,
        "is_cancelled": replay.cancelled_at is not None,
        "position": replay.position,
    }


def _report(replay: Replay) -> list[str]:
    said = [f"{replay.announced} of {replay.total} rows are announced again."]
    if replay.superseded:
        said.append(f"  {replay.superseded} not: {SUPERSEDED}")
    said += [f"  {rows} not: {reason}" for reason, rows in replay.refusals.items()]
    if replay.cancelled_at is not None:
        said.append(f"Cancelled. The rest is --after {replay.position}.")
    return said


def _option(name: str) -> str:
    return {"q": "search"}.get(name, name.replace("_", "-"))
