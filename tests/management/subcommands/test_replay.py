"""`manage.py pillarbox replay`: options, output and exit codes."""

import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from django.conf import settings as django_settings
from django.db.models.functions import Now

from pillarbox.models import NotificationOutbox, Replay
from pillarbox.replay.eligibility import SUPERSEDED
from pillarbox.replay.replay import BATCH
from tests.database import elsewhere, row_locks
from tests.management.calling import BY, facts, failed, outbox, refusal
from tests.processes import Site
from tests.rows import make, many_failed
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class TestReplay:
    def test_announces_matching_rows(self, demo):
        """
        Rows that match all filters are announced in the operator's name; the result is printed,
        with exit code 0.
        """
        failed(1, event="A", error_fingerprint="f"), failed(2, event="B"), failed(3, event="A")
        text, code = outbox("replay", "--event", "A", "--cause", "f", *BY)
        assert (0, "1 of 1 rows are announced again.") == (code, text.splitlines()[-1])
        replay = Replay.objects.get()
        assert ("demo", "fixed", 1) == (replay.by_name, replay.reason, replay.announced)

    def test_says_what_was_left_out(self, demo):
        """
        It exits with 1 if some rows could not be announced, and says why.
        """
        failed(1, object_id="1"), make(2, object_type="thing", published_at=Now())
        make(3, object_type="ticket", event="UPDATE_TICKET", failed_at=Now(), error_type="E")
        NotificationOutbox.objects.filter(offset=3).update(stream="ticket:2")
        text, code = outbox("replay", *BY)
        assert [
            "0 of 2 rows are announced again.",
            f"  1 not: {SUPERSEDED}",
            "  1 not: The object isn't in that stream any more.",
        ] == text.splitlines()[-3:]
        assert 1 == code
        assert 1 == facts("replay", "--superseded", *BY)["announced"]

    def test_as_json(self, demo):
        """
        The output is one JSON object.
        """
        failed(1)
        found = facts("replay", *BY)
        assert str(Replay.objects.get().pk) == found.pop("replay")
        assert {
            "total": 1,
            "announced": 1,
            "superseded": 0,
            "refused": 0,
            "refusals": {},
            "is_cancelled": False,
            "position": NotificationOutbox.objects.failed().get().pk,
        } == found

    def test_dry_run(self, demo):
        """
        A dry run needs no operator and announces nothing.
        """
        failed(1, object_id="1", error_fingerprint="f", error_message="no"), failed(2)
        make(3, object_type="thing", published_at=Now())
        old = failed(4)
        outbox("replay", "--pks", str(old.pk), *BY)
        NotificationOutbox.objects.pending().delete()
        text, code = outbox("replay", "--dry-run")
        assert (0, 1) == (code, Replay.objects.count())
        assert [
            "3 failed rows match: all rows.",
            "1 of them were replayed before.",
            "Of the 2 oldest of the others, 1 would be announced.",
            f"  1 not: {SUPERSEDED}",
            "  1 by f: E: no",
            "  3 X of thing",
        ] == text.splitlines()
        found = facts("replay", "--dry-run", "--current")
        assert (3, 1, 2, 0) == tuple(
            found[name] for name in ("total", "replayed", "tried", "announced")
        )
        assert "0 published rows match: state failed." == (
            outbox("replay", "--dry-run", "--resend", "--state", "failed")[0].strip()
        )

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--pks", "1,x"], "--pks: expected the primary key of a row, got 'x'."),
            (["--since", "soon"], "--since: expected a time such as 2026-11-22T10:00"),
            (["--state", "odd"], "argument --state: invalid choice: 'odd'"),
            (["--after", "0"], "--after: expected the primary key of a row"),
            (["--search", "a\0b"], "--search: expected text"),
            (["--object-type", "x" * 1001], "--object-type: expected text"),
            (["--reason", "x"], "--by: expected your username"),
            (["--by", "demo"], "--reason: expected a reason"),
            (["--by", "demo", "--reason", "  "], "--reason: expected a reason"),
            (["--by", "nobody", "--reason", "x"], "--by: there is no user 'nobody'."),
            (["--colour", "red"], "unrecognized arguments: --colour red"),
        ],
    )
    def test_refuses_invalid_options(self, demo, arguments, words):
        """
        The error names the option and the expected value; nothing is done.
        """
        failed(1)
        assert words in refusal("replay", *arguments)

    def test_waits_while_a_worker_carries_it_out(self, demo):
        """
        While a worker has the replay, the command follows it to the end.
        """
        many_failed(BATCH + 1)
        with Following() as following:
            wait_until(lambda: Replay.objects.filter(announced__gt=0).exists(), "it has begun")
        assert 0 == following.code
        assert BATCH + 1 == NotificationOutbox.objects.pending().count()


class Following:
    """`manage.py pillarbox replay` in a process of its own, on a terminal."""

    def __enter__(self):
        site = Site(None)
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "pillarbox", "replay", *BY],
            cwd=django_settings.BASE_DIR,
            env=site.environment,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        return self

    def __exit__(self, error, *_):
        if error:  # pragma: no cover  # only if the test fails
            self.process.kill()
        said = b""
        with suppress(OSError):  # it has ended
            while chunk := os.read(self.terminal, 4096):  # pragma: no branch  # Linux raises
                said += chunk
        self.said = said.decode()
        self.code = self.process.wait(PATIENCE)
        os.close(self.terminal)


def test_ctrl_c_cancels_a_replay(demo):
    """
    Announced rows stay announced, the rest is left; it exits with 130 and says how to continue.
    """
    *_, last = many_failed(3 * BATCH)
    # It gets so far, and no further.
    locked = row_locks(NotificationOutbox.objects.filter(pk=last))
    with elsewhere(locked), Following() as following:
        begun = Replay.objects.filter(announced__gt=BATCH)
        wait_until(begun.exists, "it has begun")
        following.process.send_signal(signal.SIGINT)
    replay = Replay.objects.get()
    assert 130 == following.code, following.said
    assert replay.cancelled_at is not None
    assert BATCH < replay.announced < 3 * BATCH
    assert NotificationOutbox.objects.pending().count() == replay.announced
    assert f"Cancelled. The rest is --after {replay.position}." in following.said
    assert "Traceback" not in following.said
    assert "█" in following.said
    assert "announced again" in outbox("replay", *BY)[0]
    assert 3 * BATCH == NotificationOutbox.objects.pending().count()


def test_a_blocked_replay_goes_on(demo, ticket, empty_outbox):
    """
    The command waits for a lock that another transaction holds, and says so.
    """
    make(
        1,
        stream=f"ticket:{ticket.pk}",
        object_id=str(ticket.pk),
        event="UPDATE_TICKET",
        failed_at=Now(),
        error_type="E",
    )
    with Following() as following, elsewhere(row_locks(type(ticket).objects.all())):
        wait_until(lambda: Replay.objects.exclude(blocked_reason="").exists(), "it is blocked")
    assert 0 == following.code
    assert "lock" in following.said
