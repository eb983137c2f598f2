"""`manage.py outbox`: what an operator types, what it says, what it exits with."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import AnonymousUser
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.db import DEFAULT_DB_ALIAS, ProgrammingError, connection
from django.db.models.functions import Now

from apps.outbox import shell
from apps.outbox.dashboard import panel
from apps.outbox.history import head
from apps.outbox.instances import report
from apps.outbox.models import NotificationOutbox, Replay, Stream
from apps.outbox.progress import Progress
from apps.outbox.replay import BATCH
from apps.outbox.verdicts import SUPERSEDED
from tests.database import elsewhere, row_locks
from tests.outbox.rows import make, many_failed
from tests.processes import Site
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def outbox(*arguments):
    """Return what a subcommand prints, and what it exits with."""
    stdout = io.StringIO()
    try:
        call_command("outbox", *arguments, stdout=stdout)
    except SystemExit as end:
        return stdout.getvalue(), end.code
    return stdout.getvalue(), 0


def facts(*arguments):
    """Return what a subcommand prints with --json."""
    text, _ = outbox(*arguments, "--json")
    return json.loads(text)


def refusal(*arguments):
    """Return why a subcommand is refused. It exits with 2, and has done nothing."""
    with pytest.raises(CommandError) as refused:
        outbox(*arguments)
    assert not NotificationOutbox.objects.pending().exists()
    assert not Replay.objects.exists()
    return str(refused.value)


def failed(offset=1, **values):
    defaults = {"object_type": "thing", "object_id": str(offset), "error_type": "E"}
    return make(offset, failed_at=Now(), **{**defaults, **values})


BY = ("--by", "demo", "--reason", "mended")


class TestReplay:
    def test_announces_what_matches(self, demo):
        """
        All that matches every filter, in the name of who says so; how it went is said, and exits with 0.
        """
        failed(1, event="A", error_fingerprint="f"), failed(2, event="B"), failed(3, event="A")
        text, code = outbox("replay", "--event", "A", "--cause", "f", *BY)
        assert (0, "1 of 1 rows are announced again.") == (code, text.splitlines()[-1])
        replay = Replay.objects.get()
        assert ("demo", "mended", 1) == (replay.by_name, replay.reason, replay.announced)

    def test_says_what_was_left_out(self, demo):
        """
        It exits with 1 if not all could be announced, and says why.
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
        One object, and nothing else.
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

    def test_only_says_what_it_would_do(self, demo):
        """
        A dry run needs no operator, and announces nothing.
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
            (["--pks", "1,x"], "--pks: expected the number of a row, got 'x'."),
            (["--since", "soon"], "--since: expected a time such as 2026-11-22T10:00"),
            (["--state", "odd"], "argument --state: invalid choice: 'odd'"),
            (["--after", "0"], "--after: expected the number of a row"),
            (["--search", "a\0b"], "--search: expected text"),
            (["--object-type", "x" * 1001], "--object-type: expected text"),
            (["--reason", "x"], "--by: expected your username"),
            (["--by", "demo"], "--reason: expected why"),
            (["--by", "demo", "--reason", "  "], "--reason: expected why"),
            (["--by", "nobody", "--reason", "x"], "--by: there is no user 'nobody'."),
            (["--colour", "red"], "unrecognized arguments: --colour red"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, demo, arguments, words):
        """
        The option is named, and what was expected; nothing is done.
        """
        failed(1)
        assert words in refusal("replay", *arguments)

    def test_waits_while_a_worker_is_at_it(self, demo):
        """
        What a worker has in hand is left to it, and followed to the end.
        """
        many_failed(BATCH + 1)
        with Following() as following:
            wait_until(lambda: Replay.objects.filter(announced__gt=0).exists(), "it has begun")
        assert 0 == following.code
        assert BATCH + 1 == NotificationOutbox.objects.pending().count()


class Following:
    """`manage.py outbox replay` in a process of its own, on a terminal."""

    def __enter__(self):
        site = Site(None)
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "outbox", "replay", *BY],
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
    What was announced stays, the rest is left; it exits with 130, and says how to go on.
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


class TestPrune:
    def test_deletes_what_is_old(self):
        """
        Published rows past their retention; a dry run says how many those are.
        """
        make(1, published_at=Now() - timedelta(days=8)), make(2, published_at=Now()), failed(3)
        assert ("1 rows would be deleted.\n", 0) == outbox("prune", "--dry-run")
        assert {"pruned": 0, "prunable": 1} == facts("prune", "--dry-run")
        assert {"pruned": 1, "prunable": 0} == facts("prune")
        assert ("0 rows are deleted.\n", 0) == outbox("prune")
        assert 2 == NotificationOutbox.objects.count()


class TestStats:
    def test_says_what_waits_and_what_failed(self):
        """
        The figures of the dashboard.
        """
        make(None), failed(1), failed(2)
        found = facts("stats")
        assert (1, 1, 2, 2) == tuple(
            found[name] for name in ("pending", "unnumbered", "failed", "unreplayed")
        )
        text, code = outbox("stats")
        assert 0 == code
        assert text.startswith("DEGRADED\n  No worker runs: what is committed will wait.")
        assert "Pending: 1, the oldest for " in text
        assert "In the last 10 s: 0.3 rows/s in, 0.0 out." in text
        assert "Failed: 2, of which nobody replayed 2; in the last 24 hours: 2." in text

    def test_has_the_verdict_of_the_dashboard(self):
        """
        The same word, reasons and figures, whoever asks.
        """
        report(
            "worker@a:1",
            "worker",
            {"drained_at": None, "breaker": "refused"},
            using=DEFAULT_DB_ALIAS,
        )
        make(1), failed(2)
        NotificationOutbox.objects.filter(offset=1).update(created_at=Now() - timedelta(days=1))
        found, shown = facts("stats"), panel(AnonymousUser(), using=DEFAULT_DB_ALIAS)
        assert [shown["verdict"].state, *shown["verdict"].reasons] == [
            found["state"],
            *found["reasons"],
        ]
        assert {"captured": 0.1, "published": 0.0} == found["rates"]

    def test_of_nothing(self):
        """
        An empty outbox has neither age nor lag.
        """
        assert "Pending: 0.\n" in outbox("stats")[0]

    def test_alerts(self):
        """
        It exits with 1 where it is told that this would be too much.
        """
        make(1)
        NotificationOutbox.objects.update(created_at=Now() - timedelta(minutes=1))
        assert [1, 0, 0] == [
            outbox("stats", *arguments)[1]
            for arguments in (["--fail-over", "30"], ["--fail-over", "3600"], ["--fail-failed"])
        ]
        failed(2)
        assert 1 == outbox("stats", "--fail-failed")[1]


class TestNewEpoch:
    def test_of_one_stream_or_all(self):
        """
        Positions of the stream mean nothing any more; those of others do, unless all are meant.
        """

        def epochs():
            return [head(name, using=DEFAULT_DB_ALIAS).epoch for name in ("ticket:1", "ticket:2")]

        before = epochs()
        assert {"streams": 1, "renewed": 0} == facts(
            "new-epoch", "--stream", "ticket:1", "--dry-run"
        )
        assert before == epochs()
        assert {"streams": 1, "renewed": 1} == facts("new-epoch", "--stream", "ticket:1", "--yes")
        one, other = epochs()
        assert (True, before[1]) == (before[0] != one, other)
        assert ("2 streams begin a new epoch.\n", 0) == outbox("new-epoch", "--all", "--yes")
        assert not {one, other} & set(epochs())
        assert (
            "2 streams would begin a new epoch.\n" == outbox("new-epoch", "--all", "--dry-run")[0]
        )

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--stream", "ticket:77", "--yes"], "--stream: there is no stream 'ticket:77'."),
            (["--yes"], "one of the arguments --stream --all is required"),
            (["--stream", "a", "--all"], "not allowed with argument"),
            (["--all"], "--yes: expected, since nobody can be asked here."),
        ],
    )
    def test_refuses_what_makes_no_sense(self, arguments, words):
        """
        A stream that there isn't, none, two; and what nobody has confirmed.
        """
        assert words in refusal("new-epoch", *arguments)

    def test_while_somebody_holds_a_stream(self, settings):
        """
        It doesn't wait for ever, and says what to do.
        """
        settings.OUTBOX = settings.OUTBOX | {"LOCK_IDLE_SECONDS": 0.2}
        before = head("ticket:1", using=DEFAULT_DB_ALIAS)
        with elsewhere(row_locks(Stream.objects.all())):
            text, code = outbox("new-epoch", "--all", "--yes")
        assert (1, before) == (code, head("ticket:1", using=DEFAULT_DB_ALIAS))
        assert "Try again." in text

    @pytest.mark.parametrize(("answer", "renewed"), [("y", True), ("n", False), ("", False)])
    def test_asks(self, answer, renewed):
        """
        On a terminal it asks first, and does nothing unless the answer is yes.
        """
        before = head("ticket:1", using=DEFAULT_DB_ALIAS)
        ours, theirs = pty.openpty()
        os.write(ours, f"{answer}\n".encode())
        ended = subprocess.run(
            [sys.executable, "manage.py", "outbox", "new-epoch", "--all"],
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


class TestEveryone:
    def test_says_what_it_exits_with(self, capsys):
        """
        Each subcommand's help says what it does and what its exit codes mean.
        """
        for name in ("new-epoch", "prune", "replay", "stats"):
            with pytest.raises(SystemExit):
                call_command("outbox", name, "--help")
            text = capsys.readouterr().out
            assert "exit codes:" in text
            assert shell.subcommands()[name].HELP.split()[0] in text

    def test_a_database_that_is_away(self, settings):
        """
        It exits with 3, and says so in a line.
        """
        ended = subprocess.run(
            [sys.executable, "manage.py", "outbox", "stats"],
            cwd=django_settings.BASE_DIR,
            env={**Site(None).environment, "DATABASE_URL": "postgresql://127.0.0.1:1/none"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert 3 == ended.returncode
        assert "The database is away" in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_a_database_that_is_not_migrated(self):
        """
        It exits with 2, and says what is missing and what to do.
        """
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE outbox_minute RENAME TO away")
            cursor.execute("ALTER TABLE outbox_instance RENAME TO elsewhere")
        try:
            words = refusal("stats")
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE away RENAME TO outbox_minute")
                cursor.execute("ALTER TABLE elsewhere RENAME TO outbox_instance")
        assert 'relation "outbox_instance" does not exist' in words
        assert words.endswith("Run `manage.py migrate`.")

    def test_a_mistake_of_ours_is_no_missing_migration(self):
        """
        It is a traceback, to be reported.
        """
        shell.register("elsewhere", "tests.outbox.elsewhere")
        try:
            with pytest.raises(ProgrammingError, match="syntax error"):
                outbox("elsewhere", "--sql", "SELEC 1")
        finally:
            del shell._modules["elsewhere"]

    def test_of_other_rooms(self):
        """
        A room registers a module of its own, found when it is needed.
        """
        shell.register("elsewhere", "tests.outbox.elsewhere")
        try:
            assert ("elsewhere: 7\n", 1) == outbox("elsewhere", "--number", "7")
        finally:
            del shell._modules["elsewhere"]

    def test_ctrl_c(self):
        """
        Whatever it was at, it ends without a traceback.
        """
        shell.register("elsewhere", "tests.outbox.elsewhere")
        try:
            assert ("", 130) == outbox("elsewhere", "--interrupt")
        finally:
            del shell._modules["elsewhere"]


def test_progress_without_a_terminal_is_a_line_now_and_then():
    """
    A log isn't filled, and of nothing all is done.
    """
    stdout = io.StringIO()
    progress = Progress(OutputWrapper(stdout), 0)
    progress.show(0, "waiting")
    progress.show(1)
    progress.close()
    assert "0 of 0 waiting\n" == stdout.getvalue()


def test_a_replay_that_is_hindered_goes_on(demo, ticket, empty_outbox):
    """
    The command waits for who holds a lock, and says so.
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
        wait_until(lambda: Replay.objects.exclude(hindrance="").exists(), "it is hindered")
    assert 0 == following.code
    assert "lock" in following.said
