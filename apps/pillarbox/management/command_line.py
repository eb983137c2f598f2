"""The command line of `manage.py pillarbox`: subcommands, exit codes and the question for confirmation."""

import sys
from collections.abc import Mapping
from enum import IntEnum
from importlib import import_module
from typing import Any, Protocol, cast

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser, OutputWrapper

PACKAGE = f"{__package__}.subcommands"
NAMES = ("doctor", "drain", "erase", "new-epoch", "prune", "replay", "run", "stats", "triggers")


class ExitCode(IntEnum):
    """The exit codes of `manage.py pillarbox`."""

    #: The subcommand succeeded.
    DONE = 0
    #: It succeeded in part, or found something that needs attention.
    FINDINGS = 1
    #: The arguments are invalid, or a setting, a migration or PostgreSQL is missing; nothing was done.
    USAGE = 2
    #: The database is away.
    AWAY = 3
    #: Ctrl-C; the operation is cancelled.
    INTERRUPTED = 130


class Subcommand(Protocol):
    """A module that is a subcommand."""

    #: The text of ``--help``. Its first line is shown in the list of subcommands.
    HELP: str

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""

    def run(self, options: Mapping[str, Any], stdout: OutputWrapper) -> int:
        """Run the subcommand; return the exit code. Raises CommandError for invalid arguments."""


def confirm(question: str, *, is_confirmed: bool) -> None:
    """Ask for confirmation, unless ``--yes`` was given. Raises CommandError if it's refused or impossible."""
    if is_confirmed:
        return
    if not sys.stdin.isatty():
        raise CommandError("--yes: expected, since there is no terminal to ask.")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was done.")


def reason(options: Mapping[str, Any]) -> str:
    """Return ``--reason``. Raises CommandError if there is none."""
    if given := (options["reason"] or "").strip():
        return str(given)
    raise CommandError("--reason: expected a reason, which is kept in the log.")


def operator(name: str | None) -> Any:
    """Return the user that ``--by`` names. Raises CommandError if there is none."""
    users = get_user_model()
    if not name:
        raise CommandError(f"--by: expected your {users.USERNAME_FIELD}, which is kept in the log.")
    try:
        return users._default_manager.get_by_natural_key(name)
    except users.DoesNotExist:
        raise CommandError(f"--by: there is no user {name!r}.") from None


def subcommands() -> dict[str, Subcommand]:
    """Return the subcommands by name."""
    return {
        name: cast(Subcommand, import_module(f"{PACKAGE}.{name.replace('-', '_')}"))
        for name in NAMES
    }
