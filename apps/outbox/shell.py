"""The subcommands of `manage.py outbox`: each room registers its own."""

from collections.abc import Mapping
from enum import IntEnum
from importlib import import_module
from typing import Any, Protocol, cast

from django.core.management.base import CommandParser, OutputWrapper


class ExitCode(IntEnum):
    """What `manage.py outbox` exits with."""

    #: What was asked for is done.
    DONE = 0
    #: It is done in part, or something was found that somebody should look at.
    FINDINGS = 1
    #: What was asked for makes no sense: nothing was done.
    USAGE = 2
    #: The database is away.
    AWAY = 3
    #: Ctrl-C: what was begun is cancelled.
    INTERRUPTED = 130


class Subcommand(Protocol):
    """A module that is a subcommand."""

    #: A sentence for the list of subcommands, and what else ``--help`` should say.
    HELP: str

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""

    def run(self, options: Mapping[str, Any], stdout: OutputWrapper) -> int:
        """Do it, and return the exit code. Raises CommandError for what makes no sense."""


_modules: dict[str, str] = {}


def register(name: str, module: str) -> None:
    """Make ``manage.py outbox <name>`` run a module, whose dotted name is imported when it is needed."""
    _modules[name] = module


def subcommands() -> dict[str, Subcommand]:
    """Return the registered subcommands by name."""
    return {name: cast(Subcommand, import_module(path)) for name, path in sorted(_modules.items())}
