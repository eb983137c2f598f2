"""`manage.py verify`, run as anybody runs it: real processes, which are really killed."""

import os
import re
import signal
import subprocess
import sys
import threading

import psutil
import pytest
from django.conf import settings

from config.management.commands.verify import Command
from config.verify.history import Committed, Harmed, Received, read
from config.verify.processes import wait_until

#: Longer than a busy machine takes.
LONGEST_SECONDS = 300.0


class Verify:
    """The command, running, and what it says."""

    def __init__(self, output, *words):
        inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "verify", "--output", str(output), *words],
            cwd=settings.BASE_DIR,
            env=inherited,
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


def in_the_folders_of_runs():
    """Return the processes whose command line or environment names such a folder."""
    found = set()
    for process in psutil.process_iter():
        try:
            words = " ".join([*process.cmdline(), process.environ().get("DATA_DIR", "")])
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if re.search(r"/verify-\w+", words):
            found.add(process)
    return found


def test_the_promises_hold(tmp_path):
    """
    While workers and writers are killed, lines cut, and everything at once: nothing is wrong.
    """
    names = ("crash", "jitter", "chaos")
    words = ("--local", "--seconds", "6", "--clients", "10", "--seed", "1")
    assert 0 == Verify(tmp_path, *words, *names).ended()
    for name in names:
        folder = tmp_path / f"{name}-ours"
        records = list(read(folder / "history.jsonl"))
        for kind in (Committed, Received, Harmed):
            assert any(isinstance(record, kind) for record in records), (name, kind)
        assert {"report.md", "lag.svg"} <= {path.name for path in folder.iterdir()}


def test_interrupted_it_judges_what_there_is(tmp_path):
    """
    Ctrl-C ends the run, and what it started; the plain pattern, which asks nobody, is found wanting.
    """
    before, folders = in_the_folders_of_runs(), set(FOLDERS.glob("verify-*"))
    words = ("--local", "--pattern", "plain", "--clients", "10", "--seconds", "300", "steady")
    verify = Verify(tmp_path, *words)
    verify.until("5 of 300 s")
    verify.process.send_signal(signal.SIGINT)
    assert 1 == verify.ended()
    assert "Something is wrong: steady." in verify.said
    assert "foreign: " in (tmp_path / "steady-plain" / "report.md").read_text()
    assert not {one for one in in_the_folders_of_runs() - before if one.is_running()}
    assert folders >= set(FOLDERS.glob("verify-*"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("the following arguments are required: --local", ["steady"]),
        ("the following arguments are required: scenario", ["--local"]),
        ("invalid choice: 'storm'", ["--local", "storm"]),
        ("Expected more than 0, got --clients -1.", ["--local", "--clients", "-1", "steady"]),
    ],
)
def test_what_it_is_told_wrong(tmp_path, error, words):
    """
    The error names the option and the expectation, and nothing is started.
    """
    verify = Verify(tmp_path, *words)
    assert verify.ended() > 0
    assert error in verify.said


def test_the_help_has_all_scenarios(capsys):
    """
    With a sentence for each.
    """
    with pytest.raises(SystemExit):
        Command().create_parser("manage.py", "verify").parse_args(["--help"])
    said = capsys.readouterr().out
    for name in ("steady", "burst", "jitter", "avalanche", "outage", "crash", "chaos"):
        assert re.search(rf"^  {name} +[A-Z].*\.$", said, re.MULTILINE)
