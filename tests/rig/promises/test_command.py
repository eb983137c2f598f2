"""`python -m tests.rig`, run as anybody runs it: real processes, which are really killed."""

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

from tests.rig.command.options import options
from tests.rig.history import Broken, Committed, Published, Received, read
from tests.rig.keeper import ROOT
from tests.rig.processes import wait_until
from tests.rig.writer import FAILED

#: Where the reports go, in a test's folder.
OUTPUT = "output"
#: Another seed, another history, as in `test_chaos`.
SEED = os.environ.get("FAULTS_SEED", "1")
#: Longer than a busy machine takes.
LONGEST_SECONDS = 600.0


class Rig:
    """The command, running, and what it prints."""

    def __init__(self, folder, *words, **environment):
        inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.rig", "--output", str(folder / OUTPUT), *words],
            cwd=ROOT,
            env={**inherited, "TMPDIR": str(folder), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.printed += line

    def until(self, pattern):
        """Wait until it prints something."""
        found = re.compile(pattern).search
        wait_until(lambda: found(self.printed) or self.process.poll() is not None, pattern)
        assert found(self.printed), self.printed

    def ended(self):
        """Return its exit code."""
        try:
            return self.process.wait(LONGEST_SECONDS)
        finally:
            self.process.terminate()  # which ends all that it started
            self._reader.join()
            self.process.stdout.close()
            print(self.printed)


@pytest.fixture
def folder():
    """A folder that the servers' user may enter. The test fails if anything still runs in it in the end."""
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
    While processes and servers are killed, messages lost and lines cut there are no errors, however this
    machine's programs log.
    """
    words = ("--seconds", "15", "--every", "0.5", "--clients", "10", "--worst-lag", "inf")
    environment = {"LOG_LEVEL": "ERROR", "LOG_FORMAT": "json"}
    assert 0 == Rig(folder, *words, "--seed", SEED, "chaos", **environment).ended()
    written = folder / OUTPUT / "chaos-ours"
    records = list(read(written / "history.jsonl"))
    for kind in (Committed, Published, Received, Broken):
        assert any(isinstance(record, kind) for record in records), kind
    assert {"report.md", "lag.svg"} <= {path.name for path in written.iterdir()}


def test_interrupted_it_judges_what_there_is(folder):
    """
    Ctrl-C ends the run, and what it started; the plain pattern, whose saves fail, has errors.
    """
    words = ("--pattern", "plain", "--clients", "10", "--seconds", "300")
    rig = Rig(folder, *words, "outage", "steady")
    rig.until(r"[1-9]\d* notifications shown, 1 faults")
    wait_until(lambda: any(folder.glob(f"*/{FAILED}")), "a save fails")
    rig.process.send_signal(signal.SIGINT)
    assert 1 == rig.ended()
    assert re.search(r"Something is wrong: outage \(.*\d+ saves failed", rig.printed)
    assert "steady" not in rig.printed
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
    rig = Rig(folder, "steady", "crash")
    rig.until(r"Nothing is broken\.")
    wait_until(lambda: not log or any(folder.glob(f"**/{log}")), log)
    rig.process.send_signal(number)
    assert 130 == rig.ended()
    assert "It was stopped before its end, and proves nothing." in rig.printed
    assert "Traceback" not in rig.printed
    assert "crash" not in rig.printed


def test_reports_that_can_t_be_written(folder):
    """
    The error says where they were to be; nothing is left.
    """
    (folder / OUTPUT).touch()
    rig = Rig(folder, "steady")
    assert 1 == rig.ended()
    assert f"steady, ours: [Errno 20] Not a directory: '{folder / OUTPUT}" in rig.printed
    assert "Traceback" not in rig.printed


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("the following arguments are required: scenario", []),
        ("invalid choice: 'storm'", ["storm"]),
        ("Expected more than 0, got --clients -1.", ["--clients", "-1", "steady"]),
        ("Expected more than 0, got --seconds 0.", ["--seconds", "0", "steady"]),
        ("Expected more than 0, got --rate nan.", ["--rate", "nan", "steady"]),
        ("Expected more than 0, got --every inf.", ["--every", "inf", "steady"]),
        ("Expected more than 0, got --worst-lag 0.", ["--worst-lag", "0", "steady"]),
    ],
)
def test_wrong_options(capsys, error, words):
    """
    The error names the option and the expectation, before anything is started.
    """
    with pytest.raises(SystemExit):
        options(words)
    assert error in capsys.readouterr().err


def test_servers_that_can_t_start(folder):
    """
    The error says where they were to be, and why not.
    """
    blank = folder / OUTPUT / "a folder"
    blank.mkdir(parents=True)
    rig = Rig(folder, "steady", TMPDIR=str(blank))
    assert 1 == rig.ended()
    assert "The embedded PostgreSQL can't live in" in rig.printed


def test_the_help_has_all_scenarios(capsys):
    """
    With a sentence for each.
    """
    with pytest.raises(SystemExit):
        options(["--help"])
    printed = capsys.readouterr().out
    for name in ("steady", "burst", "jitter", "avalanche", "outage", "crash", "chaos"):
        assert re.search(rf"^  {name} +[A-Z].*\.\n +\d+ clients, .* s$", printed, re.MULTILINE)
