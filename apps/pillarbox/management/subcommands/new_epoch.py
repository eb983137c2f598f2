"""`manage.py pillarbox new-epoch`."""

import json
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS

from ...exceptions import ShardBusyError
from ...models import Stream
from ...stream.epochs import renew
from ..command_line import ExitCode, confirm

HELP = """
Begin a new epoch of one stream, or of all, which invalidates the positions of all clients.

Subscribers get `resynced` with the present state within seconds; clients that reconnect get a snapshot. Use
it after rows of the outbox were lost or changed by hand, or after SQL hid an object from users. A restored
backup and a failover begin new epochs by themselves. All clients of a stream request its present state at
about the same time, so choose a quiet hour for all streams.
"""


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--stream", help="such as ticket:7")
    which.add_argument("--all", action="store_true", help="every stream")
    parser.add_argument(
        "--dry-run", action="store_true", help="only print how many streams there are"
    )
    parser.add_argument("--yes", action="store_true", help="don't ask")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Begin new epochs after a confirmation. Raises CommandError for a stream that doesn't exist."""
    name = options["stream"]
    streams = Stream.objects.using(DEFAULT_DB_ALIAS)
    found = streams.count() if name is None else streams.filter(name=name).count()
    if name is not None and not found:
        raise CommandError(f"--stream: there is no stream {name!r}.")
    question = f"Begin a new epoch of {found} streams? Their subscribers start anew."
    confirm(question, is_confirmed=options["yes"] or options["dry_run"])
    try:
        renewed = 0 if options["dry_run"] else renew(name, using=DEFAULT_DB_ALIAS)
    except ShardBusyError as error:
        stdout.write(f"{error} Streams of earlier shards have a new epoch. Try again.")
        return ExitCode.FINDINGS
    if options["json"]:
        stdout.write(json.dumps({"streams": found, "renewed": renewed}))
    elif options["dry_run"]:
        stdout.write(f"{found} streams would begin a new epoch.")
    else:
        stdout.write(f"{renewed} streams begin a new epoch.")
    return ExitCode.DONE
