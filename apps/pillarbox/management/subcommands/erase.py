"""`manage.py pillarbox erase`."""

import json
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper

from ...erasure.erase import Erasure
from ...erasure.rows import Count, count
from ...erasure.subject import Subject, primary_key, subject_of
from ...exceptions import ShardBusyError, UnknownObjectTypeError
from ...types.registry import OWN, object_type
from ..command_line import ExitCode, confirm, operator, reason
from ..progress import Progress

HELP = """
Erase what the outbox keeps of objects or of a user, for example after a request for deletion.

  manage.py pillarbox erase ticket 17 --dry-run
  manage.py pillarbox erase ticket 8Kx2Q 9Lz3R --by ann --reason "request 4711"
  manage.py pillarbox erase --user 5 --by ann --reason "request 4712"

Delete or change the object first: the outbox announces what its table has. Payloads, images and error
messages of its rows are blanked in all streams, pending rows included, and those of other objects that show
it at present. Rows and offsets stay: subscribers who resume see the offsets as `skipped`. A deletion that
shows only the id stays as it is, so that clients still learn of it. An erased row can't be replayed as
recorded.

--user erases the user's own stream, `me`, and the user as an object, if users are live. Objects that showed
an object in the past aren't found, as those of a deleted one: erase them, too. What backups, the write-ahead
log, logs and clients keep is not erased. See "Erase what the outbox keeps" in the documentation.

It reads the whole outbox, and blanks it in small transactions, so nobody waits. It can be stopped and run
again at any time. Exits with 1 if workers or others used some of the rows for so long that they are left.
"""


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    which = parser.add_argument_group("what")
    which.add_argument("object_type", nargs="?", metavar="TYPE", help="such as ticket")
    which.add_argument(
        "object_ids", nargs="*", metavar="ID", help="its primary key, or its public id"
    )
    which.add_argument("--user", metavar="KEY", help="a user's primary key, instead of TYPE and ID")
    how = parser.add_argument_group("how")
    how.add_argument("--by", metavar="USERNAME", help="your username (required without --dry-run)")
    how.add_argument("--reason", help="the reason, for the log (required without --dry-run)")
    how.add_argument("--dry-run", action="store_true", help="only print how many rows there are")
    how.add_argument("--yes", "--no-input", action="store_true", help="don't ask")
    how.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Erase after a confirmation, or count. Raises CommandError for invalid arguments."""
    subject = _subject(options)
    if options["dry_run"]:
        found = count(subject)
        stdout.write(json.dumps(found._asdict()) if options["json"] else _sentence(found, subject))
        return ExitCode.DONE
    why, by = reason(options), operator(options["by"])
    found = count(subject)
    confirm(f"{_sentence(found, subject)} Erase them for ever?", is_confirmed=options["yes"])
    erasure = Erasure(subject)
    progress = Progress(stdout, sum(found))
    try:
        for erased in erasure.carry_out(by=by, reason=why):
            if not options["json"]:
                progress.show(erased)
    except ShardBusyError as error:
        stdout.write(f"{error} Nothing was erased. Try again.")
        return ExitCode.FINDINGS
    if options["json"]:
        stdout.write(json.dumps({"erased": erasure.erased, "left": erasure.left}))
    else:
        progress.close()
        stdout.write(f"{erasure.erased} rows are erased.")
        if erasure.left:
            stdout.write(f"{erasure.left} rows are not, because others use them. Try again.")
    return ExitCode.FINDINGS if erasure.left else ExitCode.DONE


def _subject(options: Mapping[str, Any]) -> Subject:
    name, texts, user = options["object_type"], options["object_ids"], options["user"]
    if (user is None) != bool(texts) or (user is not None and name):
        raise CommandError("Expected either TYPE and ID, such as ticket 17, or --user KEY.")
    try:
        if user is not None:
            return subject_of(OWN.name, user)
        return subject_of(name, *(_key(name, text) for text in texts))
    except UnknownObjectTypeError as error:
        raise CommandError(str(error)) from None


def _key(name: str, text: str) -> Any:
    """Return the primary key that is meant by a primary key or a public id."""
    kind = object_type(name)
    keys = {primary_key(kind, text), kind.key(text)} - {None}
    if len(keys) > 1:
        raise CommandError(
            f"ID: {text!r} is the primary key of one {name} and the public id of another. Use the other form."
        )
    return next(iter(keys), text)


def _sentence(found: Count, subject: Subject) -> str:
    objects = ", ".join(subject.streams)
    if subject.showing:
        objects += f", and of objects that show it ({subject.showing})"
    return (
        f"{sum(found)} rows hold something of {objects}: {found.published} published,"
        f" {found.pending} pending, {found.failed} failed."
    )
