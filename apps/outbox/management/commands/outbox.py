"""`manage.py outbox`."""

import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, ProgrammingError
from psycopg.errors import UndefinedColumn, UndefinedTable

from ...shell import ExitCode, subcommands

CODES = """\
exit codes:
  0    done
  1    done in part, or something was found that somebody should look at
  2    what was asked for makes no sense, or the database is not migrated; nothing was done
  3    the database is away
  130  Ctrl-C; what was begun is cancelled, and can be begun again
"""


class Command(BaseCommand):
    help = "See, repair and keep the notification outbox. Each subcommand has a --help of its own."
    # An operator must be able to look at a set-up that the checks complain of.
    requires_system_checks: list[str] = []

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            *args, formatter_class=RawDescriptionHelpFormatter, epilog=CODES, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        adding = parser.add_subparsers(dest="subcommand", required=True, metavar="subcommand")
        for name, subcommand in subcommands().items():
            sentence = subcommand.HELP.strip().partition("\n")[0]
            own = adding.add_parser(
                name,
                help=sentence,
                description=subcommand.HELP.strip(),
                epilog=CODES,
                formatter_class=RawDescriptionHelpFormatter,
            )
            subcommand.add_arguments(own)

    def handle(self, *args: Any, subcommand: str, **options: Any) -> None:
        try:
            code = subcommands()[subcommand].run(options, self.stdout)
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except (InterfaceError, OperationalError) as error:
            raise CommandError(
                f"The database is away: {error}".rstrip(), returncode=ExitCode.AWAY
            ) from None
        except ProgrammingError as error:
            if not isinstance(error.__cause__, (UndefinedColumn, UndefinedTable)):
                raise
            words = str(error).partition("\n")[0]
            raise CommandError(
                f"The database is not migrated: {words}. Run `manage.py migrate`.",
                returncode=ExitCode.USAGE,
            ) from None
        except CommandError as error:
            error.returncode = ExitCode.USAGE
            raise
        if code:
            sys.exit(code)
