"""`manage.py pillarbox`."""

import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.checks import ERROR
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, ProgrammingError
from django.db.backends.postgresql.psycopg_any import errors

from ...checks.channel_layer import layer_hosts_are_valid, layer_reaches_other_processes
from ...checks.redis_server import redis_can_be_reached
from ...conf import pillarbox_settings
from ...database import CONNECTION_ERRORS, NEEDS_POSTGRESQL, USE_POSTGRESQL, is_postgresql
from ...exceptions import RegistrationError, SecondSchemaError, TriggersError
from ...types.refusals import require_registrations
from ..command_line import ExitCode, subcommands

#: Subcommands that show what is wrong.
INSPECTING = ("doctor", "stats")
#: Subcommands that hand rows to the channel layer.
PUBLISHING = ("drain", "run")
CODES = """\
exit codes:
  0    done
  1    done in part, or something was found that needs attention
  2    invalid arguments, or something is missing: a setting, a migration, PostgreSQL; nothing was done
  3    the database is away
  130  Ctrl-C; the operation is cancelled, and can be run again
"""


class Command(BaseCommand):
    help = (
        "Inspect, repair and maintain the notification outbox. Each subcommand has its own --help."
    )
    # Operators must be able to inspect an installation that fails the checks.
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
        if not is_postgresql(using=DEFAULT_DB_ALIAS):
            raise CommandError(f"{NEEDS_POSTGRESQL} {USE_POSTGRESQL}", returncode=ExitCode.USAGE)
        try:
            pillarbox_settings()
            _require_parts(subcommand)
            code = subcommands()[subcommand].run(options, self.stdout)
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except (SecondSchemaError, TriggersError) as error:
            raise CommandError(str(error), returncode=ExitCode.FINDINGS) from None
        except CONNECTION_ERRORS as error:
            raise CommandError(
                f"The database is away: {error}".rstrip(), returncode=ExitCode.AWAY
            ) from None
        except ProgrammingError as error:
            if not isinstance(error.__cause__, (errors.UndefinedColumn, errors.UndefinedTable)):
                raise
            words = str(error).partition("\n")[0]
            raise CommandError(
                f"The database is not migrated: {words}. Run `manage.py migrate`.",
                returncode=ExitCode.USAGE,
            ) from None
        except (ImproperlyConfigured, RegistrationError) as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from None
        except CommandError as error:
            error.returncode = ExitCode.USAGE
            raise
        if code:
            sys.exit(code)


def _require_parts(subcommand: str) -> None:
    """Raise RegistrationError or ImproperlyConfigured if something is missing that a subcommand needs."""
    if subcommand not in INSPECTING:
        require_registrations()
    if subcommand not in PUBLISHING:
        return
    checks = (layer_reaches_other_processes, layer_hosts_are_valid, redis_can_be_reached)
    for message in (message for check in checks for message in check()):
        if message.level >= ERROR and not message.is_silenced():
            raise ImproperlyConfigured(f"{message.msg} {message.hint}")
