"""Tests of `python -m tests.rig`, run as a user runs it: with real processes, which are killed."""

import os
import re
import shutil
import signal
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.program import Program
from tests.rig.command.options import options
from tests.rig.history import Broken, Committed, Followed, Published, Received, read
from tests.rig.writer import FAILED
from tests.waiting import wait_until

#: The folder for the reports, in a test's folder.
OUTPUT = "output"
#: Each seed gives another history, as in `test_chaos`.
SEED = os.environ.get("FAULTS_SEED", "1")
#: An upper bound for the duration of a run on a busy machine.
LONGEST_SECONDS = 600.0


class Rig(Program):
    """The running command and its output."""

    def __init__(self, folder, *arguments, **environment):
        inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
        super().__init__(
            ["-m", "tests.rig", "--output", str(folder / OUTPUT), *arguments],
            {**inherited, "TMPDIR": str(folder), **environment},
        )

    def ended(self, seconds=LONGEST_SECONDS):
        """Wait for the end of the command, and return its exit code."""
        try:
            return super().ended(seconds)
        finally:
            self.process.terminate()  # which ends all that it started
            print(self.printed)


@pytest.fixture
def folder():
    """Yield a folder that the servers' user may enter. Fails if a process still runs in it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="v-"))
    folder.chmod(0o755)
    yield folder
    running = [process for process in psutil.process_iter() if _names(process, folder)]
    assert [] == running
    assert {folder / OUTPUT} >= set(folder.iterdir())
    shutil.rmtree(folder)


def _names(process, folder):
    """Whether a process has a folder in its command line or its DATA_DIR."""
    try:
        texts = [*process.cmdline(), process.environ().get("DATA_DIR", "")]
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False
    return any(str(folder) in text for text in texts)


def test_the_promises_hold(folder):
    """
    There are no errors while processes and servers are killed, messages lost and lines cut, whatever the
    logging settings of the environment.
    """
    arguments = ("--seconds", "15", "--every", "0.5", "--clients", "10", "--worst-lag", "inf")
    environment = {"LOG_LEVEL": "ERROR", "LOG_FORMAT": "json"}
    assert 0 == Rig(folder, *arguments, "--seed", SEED, "chaos", **environment).ended()
    written = folder / OUTPUT / "chaos-ours"
    records = list(read(written / "history.jsonl"))
    for kind in (Committed, Published, Received, Broken):
        assert any(isinstance(record, kind) for record in records), kind
    assert {"report.md", "lag.svg"} <= {path.name for path in written.iterdir()}


def test_a_right_that_ends_ends(folder):
    """
    Guests are shown no change that was committed while they were no members, while workers are killed.
    """
    arguments = ("--seconds", "10", "--every", "1", "--clients", "10", "--worst-lag", "inf")
    assert 0 == Rig(folder, *arguments, "--seed", SEED, "rights").ended()
    records = list(read(folder / OUTPUT / "rights-ours" / "history.jsonl"))
    changes = {one.content: one for one in records if isinstance(one, Committed)}
    guests = {one.client for one in records if isinstance(one, Followed) and one.is_guest}
    seen = [one for one in records if isinstance(one, Received) and one.client in guests]
    assert any(change.hidden_from for change in changes.values())
    assert any(changes[one.content].hidden_from for one in seen)


def test_interrupted_it_checks_the_history_so_far(folder):
    """
    Ctrl-C ends the run and its processes. The plain pattern has errors: its saves fail without Redis.
    """
    arguments = ("--pattern", "plain", "--clients", "10", "--seconds", "300")
    rig = Rig(folder, *arguments, "outage", "steady")
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
    A signal at any moment of the start leaves no process behind; the exit code is 130.
    """
    rig = Rig(folder, "steady", "crash")
    rig.until(r"Nothing is broken\.")
    wait_until(lambda: not log or any(folder.glob(f"**/{log}")), log)
    rig.process.send_signal(number)
    assert 130 == rig.ended()
    assert "The run was stopped before its end, so it proves nothing." in rig.printed
    assert "Traceback" not in rig.printed
    assert "crash" not in rig.printed


def test_reports_that_can_t_be_written(folder):
    """
    The error names the path of the reports; no process is left.
    """
    (folder / OUTPUT).touch()
    rig = Rig(folder, "steady")
    assert 1 == rig.ended()
    assert f"steady, ours: [Errno 20] Not a directory: '{folder / OUTPUT}" in rig.printed
    assert "Traceback" not in rig.printed


@pytest.mark.parametrize(
    ("error", "arguments"),
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
def test_wrong_options(capsys, error, arguments):
    """
    The error names the option and the expected value before any process is started.
    """
    with pytest.raises(SystemExit):
        options(arguments)
    assert error in capsys.readouterr().err


def test_servers_that_can_t_start(folder):
    """
    The error names the folder of the servers, and the reason.
    """
    blank = folder / OUTPUT / "a folder"
    blank.mkdir(parents=True)
    rig = Rig(folder, "steady", TMPDIR=str(blank))
    assert 1 == rig.ended()
    assert "The embedded PostgreSQL can't live in" in rig.printed


def test_the_help_has_all_scenarios(capsys):
    """
    The help has a sentence for each scenario.
    """
    with pytest.raises(SystemExit):
        options(["--help"])
    printed = capsys.readouterr().out
    for name in ("steady", "rights", "burst", "jitter", "avalanche", "outage", "crash", "chaos"):
        assert re.search(rf"^  {name} +[A-Z].*\.\n +\d+ clients, .* s$", printed, re.MULTILINE)
