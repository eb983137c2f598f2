"""`manage.py pillarbox new-epoch`: positions become invalid."""

import os
import pty
import subprocess
import sys

import pytest
from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS

from pillarbox.models import Stream
from pillarbox.stream.history import head
from tests.database import elsewhere, row_locks
from tests.management.calling import facts, outbox, refusal
from tests.processes import Site

pytestmark = pytest.mark.django_db(transaction=True)


def test_of_one_stream_or_all():
    """
    Positions of the chosen stream, or of all streams, become invalid; others stay valid.
    """

    def epochs():
        return [head(name, using=DEFAULT_DB_ALIAS).epoch for name in ("ticket:1", "ticket:2")]

    before = epochs()
    assert {"streams": 1, "renewed": 0} == facts("new-epoch", "--stream", "ticket:1", "--dry-run")
    assert before == epochs()
    assert {"streams": 1, "renewed": 1} == facts("new-epoch", "--stream", "ticket:1", "--yes")
    one, other = epochs()
    assert (True, before[1]) == (before[0] != one, other)
    assert ("2 streams begin a new epoch.\n", 0) == outbox("new-epoch", "--all", "--yes")
    assert not {one, other} & set(epochs())
    assert "2 streams would begin a new epoch.\n" == outbox("new-epoch", "--all", "--dry-run")[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stream", "ticket:77", "--yes"], "--stream: there is no stream 'ticket:77'."),
        (["--yes"], "one of the arguments --stream --all is required"),
        (["--stream", "a", "--all"], "not allowed with argument"),
        (["--all"], "--yes: expected, since there is no terminal to ask."),
    ],
)
def test_refuses_unknown_streams_or_no_confirmation(arguments, words):
    """
    An unknown stream, no stream, two choices, and a run without confirmation are refused.
    """
    assert words in refusal("new-epoch", *arguments)


def test_while_a_transaction_locks_a_stream(settings):
    """
    It waits for a bounded time, and says what to do.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"LOCK_IDLE_SECONDS": 0.2}
    before = head("ticket:1", using=DEFAULT_DB_ALIAS)
    with elsewhere(row_locks(Stream.objects.all())):
        text, code = outbox("new-epoch", "--all", "--yes")
    assert (1, before) == (code, head("ticket:1", using=DEFAULT_DB_ALIAS))
    assert "Try again." in text


@pytest.mark.parametrize(("answer", "renewed"), [("y", True), ("n", False), ("", False)])
def test_asks(answer, renewed):
    """
    On a terminal it asks first, and does nothing unless the answer is yes.
    """
    before = head("ticket:1", using=DEFAULT_DB_ALIAS)
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    ended = subprocess.run(
        [sys.executable, "manage.py", "pillarbox", "new-epoch", "--all"],
        cwd=django_settings.BASE_DIR,
        env=Site(None).environment,
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert "Begin a new epoch of 1 streams?" in ended.stdout
    assert (0 if renewed else 2) == ended.returncode
    assert renewed is (before != head("ticket:1", using=DEFAULT_DB_ALIAS))
