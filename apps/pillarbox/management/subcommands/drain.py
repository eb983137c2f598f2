"""`manage.py pillarbox drain`."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS

from ...monitoring.backlog import backlog
from ...relay.relay import Relay
from ..command_line import ExitCode

HELP = """
Publish the due rows once, without Celery.

It is safe beside workers. It prints how many rows are left, and exits with 1 if rows are left and it could
publish none.
"""


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Drain once; return the exit code."""
    with Relay(using=DEFAULT_DB_ALIAS, ends_process=True) as relay:
        drained = relay.drain()
        left = backlog(using=relay.using).pending
    stdout.write(f"{drained.published} published, {drained.failed} failed, {left} left.")
    if not left or drained.published:
        return ExitCode.DONE
    stdout.write(
        "The channel layer is away, a worker has claimed the rows, or they wait for a retry."
    )
    return ExitCode.FINDINGS
