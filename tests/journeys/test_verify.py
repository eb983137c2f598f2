"""`manage.py verify`, run as anybody runs it: real processes, which are really killed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from config.management.commands.verify import Command
from config.verify.history import Committed, Harmed, Received, read
from config.verify.processes import wait_until

#: Where the reports go, in a test's folder.
OUTPUT = "output"
#: Longer than a busy machine takes.
LONGEST_SECONDS = 300.0


class Verify:
    """The command, running, and what it says."""

    def __init__(self, folder, *words, **environment):
        inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "verify", "--output", str(folder / OUTPUT), *words],
            cwd=settings.BASE_DIR,
            env={**inherited, "TMPDIR": str(folder), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.said += line

    def until(self, words):
        wait_until(lambda: words in self.said or self.process.poll() is not None, words)
        assert words in self.said, self.said

    def ended(self):
        """Return its exit code."""
        try:
            return self.process.wait(LONGEST_SECONDS)
        finally:
            self.process.terminate()  # which ends all that it started
            self._reader.join()
            self.process.stdout.close()
            print(self.said)


@pytest.fixture
def folder():
    """A folder that nobody else uses, which the servers' user may enter; what runs in it in the end fails."""
    folder = Path(tempfile.mkdtemp(prefix="v-"))
    folder.chmod(0o755)
    yield folder
    running = [process for process in psutil.process_iter() if _names(process, folder)]
    assert [] == running
    assert {folder / OUTPUT} >= set(folder.iterdir())
    shutil.rmtree(folder)


def _names(process, folder):
    """Whether a process has a folder in its command line or its environment."""
    try:
        words = [*process.cmdline(), process.environ().get("DATA_DIR", "")]
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False
    return any(str(folder) in word for word in words)


def test_the_promises_hold(folder):
    """
    While workers and writers are killed, lines cut, and everything at once: nothing is wrong.
    """
    names = ("crash", "jitter", "chaos")
    words = ("--local", "--seconds", "6", "--clients", "10", "--seed", "1")
    assert 0 == Verify(folder, *words, *names).ended()
    for name in names:
        written = folder / OUTPUT / f"{name}-ours"
        records = list(read(written / "history.jsonl"))
        for kind in (Committed, Received, Harmed):
            assert any(isinstance(record, kind) for record in records), (name, kind)
        assert {"report.md", "lag.svg"} <= {path.name for path in written.iterdir()}


def test_interrupted_it_judges_what_there_is(folder):
    """
    Ctrl-C ends the run, and what it started; the plain pattern, whose saves fail, is found wanting.
    """
    words = ("--local", "--pattern", "plain", "--clients", "10", "--seconds", "300")
    verify = Verify(folder, *words, "outage", "steady")
    verify.until("10 of 300 s")
    verify.process.send_signal(signal.SIGINT)
    assert 1 == verify.ended()
    assert re.search(r"Something is wrong: outage \(\d+ lost, ", verify.said)
    assert "steady" not in verify.said
    report = (folder / OUTPUT / "outage-plain" / "report.md").read_text()
    assert "foreign: " in report
    assert "| take redis away | 1 |" in report


@pytest.mark.parametrize(
    ("number", "log"),
    [
        (signal.SIGTERM, ""),
        (signal.SIGHUP, "postgres/postmaster.pid"),
        (signal.SIGINT, "redis.log"),
        (signal.SIGTERM, "daphne.log"),
    ],
)
def test_interrupted_while_it_starts(folder, number, log):
    """
    At whatever moment: nothing that was started is left, and the exit code says that nothing is proved.
    """
    verify = Verify(folder, "--local", "steady", "crash")
    verify.until("Nothing is broken.")
    wait_until(lambda: not log or any(folder.glob(f"**/{log}")), log)
    verify.process.send_signal(number)
    assert 130 == verify.ended()
    assert "It was stopped before its end, and proves nothing." in verify.said
    assert "Traceback" not in verify.said
    assert "crash" not in verify.said


def test_a_run_in_which_nothing_happens(folder):
    """
    Too short for a fault: that is no proof, and the message says why.
    """
    words = ("--local", "--seconds", "1", "--clients", "2", "crash")
    verify = Verify(folder, *words, LOG_LEVEL="ERROR", LOG_FORMAT="json")
    assert 1 == verify.ended()
    assert "Something is wrong: crash (nothing was broken)." in verify.said


def test_where_the_reports_can_t_be(folder):
    """
    The error says where they were to be; nothing is left.
    """
    (folder / OUTPUT).touch()
    verify = Verify(folder, "--local", "steady")
    assert 1 == verify.ended()
    assert f"steady, ours: [Errno 20] Not a directory: '{folder / OUTPUT}" in verify.said
    assert "Traceback" not in verify.said


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("the following arguments are required: --local", ["steady"]),
        ("the following arguments are required: scenario", ["--local"]),
        ("invalid choice: 'storm'", ["--local", "storm"]),
        ("Expected more than 0, got --clients -1.", ["--local", "--clients", "-1", "steady"]),
        ("Expected more than 0, got --seconds 0.", ["--local", "--seconds", "0", "steady"]),
        ("Expected more than 0, got --rate nan.", ["--local", "--rate", "nan", "steady"]),
        ("Expected more than 0, got --every inf.", ["--local", "--every", "inf", "steady"]),
    ],
)
def test_what_it_is_told_wrong(folder, error, words):
    """
    The error names the option and the expectation, and nothing is started.
    """
    verify = Verify(folder, *words)
    assert verify.ended() > 0
    assert error in verify.said


def test_where_the_servers_can_t_be(folder):
    """
    The error says where they were to be, and why not.
    """
    blank = folder / OUTPUT / "a folder"
    blank.mkdir(parents=True)
    verify = Verify(folder, "--local", "steady", TMPDIR=str(blank))
    assert 1 == verify.ended()
    assert "The embedded PostgreSQL can't live in" in verify.said


def test_the_help_has_all_scenarios(capsys):
    """
    With a sentence for each.
    """
    with pytest.raises(SystemExit):
        Command().create_parser("manage.py", "verify").parse_args(["--help"])
    said = capsys.readouterr().out
    for name in ("steady", "burst", "jitter", "avalanche", "outage", "crash", "chaos"):
        assert re.search(rf"^  {name} +[A-Z].*\.\n +\d+ clients, .* s$", said, re.MULTILINE)
