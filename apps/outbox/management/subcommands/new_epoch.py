"""`manage.py outbox new-epoch`."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS

from ...epochs import renew
from ...exceptions import ShardBusyError
from ...models import Stream
from ...shell import ExitCode

HELP = """
Begin a new epoch of one stream, or of all: no position that a client holds means anything any more.

Whoever is subscribed gets `resynced` with the present state, within seconds; whoever comes back gets a
snapshot. For when rows of the outbox were lost or changed by hand, or an object was made secret by SQL. A
restored backup and a failover begin new epochs by themselves. Each client of the stream asks for its
present state at about the same time: of all streams, choose a quiet hour.
"""


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--stream", help="such as ticket:7")
    which.add_argument("--all", action="store_true", help="every stream")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say how many streams there are"
    )
    parser.add_argument("--yes", action="store_true", help="don't ask")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Begin new epochs, if that is what is wanted. Raises CommandError for a stream that there isn't."""
    name = options["stream"]
    streams = Stream.objects.using(DEFAULT_DB_ALIAS)
    found = streams.count() if name is None else streams.filter(name=name).count()
    if name is not None and not found:
        raise CommandError(f"--stream: there is no stream {name!r}.")
    if not options["dry_run"] and not options["yes"]:
        _confirm(found, stdout)
    try:
        renewed = 0 if options["dry_run"] else renew(name, using=DEFAULT_DB_ALIAS)
    except ShardBusyError as error:
        stdout.write(f"{error} Streams of the shards before it have a new epoch. Try again.")
        return ExitCode.FINDINGS
    if options["json"]:
        stdout.write(json.dumps({"streams": found, "renewed": renewed}))
    elif options["dry_run"]:
        stdout.write(f"{found} streams would begin a new epoch.")
    else:
        stdout.write(f"{renewed} streams begin a new epoch.")
    return ExitCode.DONE


def _confirm(found: int, stdout: OutputWrapper) -> None:
    if not sys.stdin.isatty():
        raise CommandError("--yes: expected, since nobody can be asked here.")
    answer = input(f"Begin a new epoch of {found} streams? Their subscribers start anew. [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing is done.")
