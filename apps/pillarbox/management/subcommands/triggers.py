"""`manage.py pillarbox triggers`."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS, connections

from ...capture.triggers.installation import differences, install, remove
from ...capture.triggers.required import required
from ..command_line import ExitCode

HELP = """
Install the triggers that capture changes of live tables.

`migrate` installs them, too. Without options, missing triggers are installed and obsolete ones dropped; only
triggers with the outbox's label are touched. For a table in use it waits at most a second at a time, so that
other transactions don't queue behind it for long.
"""


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="default: %(default)s")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 if something differs"
    )
    chosen.add_argument(
        "--sql",
        action="store_true",
        help="print the SQL of all triggers, for a role that may run it",
    )
    chosen.add_argument(
        "--remove", action="store_true", help="drop the triggers; changes are no longer captured"
    )


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Install, check, print or remove the triggers."""
    using = options["database"]
    if using not in connections:
        raise CommandError(f"There is no database {using!r}.")
    if options["sql"]:
        for trigger in required(using=using).triggers:
            stdout.write(f"-- {trigger.table}\n" + ";\n".join(trigger.statements) + ";\n")
        return ExitCode.DONE
    if options["check"]:
        return _check(using, stdout)
    if options["remove"]:
        stdout.write(f"{remove(using=using)} triggers dropped. Changes are no longer captured.")
        return ExitCode.DONE
    for difference in install(using=using):
        stdout.write(f"{difference.table} {difference.problem}: repaired.")
    stdout.write(f"{len(required(using=using).triggers)} live tables have their triggers.")
    return ExitCode.DONE


def _check(using: str, stdout: OutputWrapper) -> int:
    found = list(differences(using=using))
    for difference in found:
        stdout.write(f"{difference}.")
    if found:
        stdout.write("Run `manage.py pillarbox triggers`.")
        return ExitCode.FINDINGS
    stdout.write(f"All {len(required(using=using).triggers)} live tables have their triggers.")
    return ExitCode.DONE
