"""Calls of `manage.py pillarbox` in this process."""

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from pillarbox.models import NotificationOutbox, Replay
from tests.rows import make

#: Who decides, and why, for subcommands that leave an entry in the admin's log.
BY = ("--by", "demo", "--reason", "fixed")


def outbox(*arguments):
    """Return what a subcommand prints, and its exit code."""
    stdout = io.StringIO()
    try:
        call_command("pillarbox", *arguments, stdout=stdout)
    except SystemExit as end:
        return stdout.getvalue(), end.code
    return stdout.getvalue(), 0


def facts(*arguments):
    """Return what a subcommand prints with --json."""
    text, _ = outbox(*arguments, "--json")
    return json.loads(text)


def refusal(*arguments):
    """Return the error of a refused subcommand. It exits with 2 and has changed nothing."""
    with pytest.raises(CommandError) as refused:
        outbox(*arguments)
    assert not NotificationOutbox.objects.pending().exists()
    assert not Replay.objects.exists()
    return str(refused.value)


def failed(offset=1, **values):
    """Return a failed row of an unregistered type."""
    defaults = {"object_type": "thing", "object_id": str(offset), "error_type": "E"}
    return make(offset, failed_at=Now(), **{**defaults, **values})
