"""Tests of the fork server: its forks behave like fresh interpreters."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.rig.forkserver import ROOT, ForkServer, fork_server, python_arguments
from tests.rig.itself import seen
from tests.waiting import PATIENCE

PROGRAM = Path(seen.__file__)
SLEEPS = ["-c", "import time; time.sleep(600)"]


@pytest.fixture
def start(tmp_path):
    """Return a function that starts Python in a fork of a server and writes output and errors to files."""

    def start(server, arguments, environment=os.environ):
        with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
            return server.start(arguments, environment, stdout=out.fileno(), stderr=err.fileno())

    return start


@pytest.mark.parametrize("end", seen.ENDS)
@pytest.mark.parametrize(
    "arguments",
    [[str(PROGRAM)], ["-m", "tests.rig.itself.seen"], ["-c", PROGRAM.read_text()]],
    ids=["a script", "a module", "code"],
)
def test_a_fork_sees_what_a_fresh_interpreter_sees(start, arguments, end, tmp_path):
    """
    A fork runs the main program with the same arguments, paths, environment, files and signals, and ends
    in the same way.
    """
    arguments = [*arguments, end, "a word with 'quotes' and blanks"]
    environment = {**os.environ, "ONLY_ITS_OWN": "é", "TMPDIR": str(tmp_path)}
    del environment["SECRET_KEY"]
    fresh = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        start_new_session=True,
    )
    assert fresh.returncode == start(fork_server(), arguments, environment).wait(PATIENCE)
    assert fresh.stdout == (tmp_path / "out").read_bytes()
    last_line = fresh.stderr.splitlines()[-1:]  # the rest of a traceback differs
    assert last_line == (tmp_path / "err").read_bytes().splitlines()[-1:]


def test_a_process_id_is_not_reused_before_the_exit_code_is_read(start):
    """
    Until its exit code is read, a process that has ended can still be signalled, with its group.
    """
    process = start(fork_server(), ["-c", "raise SystemExit(5)"])
    observed = psutil.Process(process.pid)
    while observed.status() != psutil.STATUS_ZOMBIE:
        pass
    os.killpg(process.pid, signal.SIGKILL)
    assert 5 == process.wait(PATIENCE)
    assert 5 == process.poll()
    observed.wait(PATIENCE)
    process.terminate()


def test_wait_has_a_timeout(start):
    """
    A running process has no exit code; SIGTERM ends it.
    """
    process = start(fork_server(), SLEEPS)
    assert None is process.poll()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.terminate()
    assert -signal.SIGTERM == process.wait(PATIENCE)


def test_forks_outlive_the_server(start):
    """
    A fork keeps running, and its exit code is still reported.
    """
    server = ForkServer()
    process = start(server, SLEEPS)
    server.end()
    assert None is process.poll()
    process.terminate()
    assert -signal.SIGTERM == process.wait(PATIENCE)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("exec python -c 'a b' ${GIVEN:-c} ${MISSING:-d e}", ["-c", "a b", "given", "d", "e"]),
        (f"exec {sys.executable} manage.py check", ["manage.py", "check"]),
        ("exec celery --quiet", [str(Path(sys.executable).parent / "celery"), "--quiet"]),
        ("python manage.py check", []),
        ("exec sleep 600", []),
        ("exec no-such-program", []),
    ],
)
def test_python_commands_are_recognised(command, arguments):
    """
    The arguments are expanded as by a shell. Other programs than Python have none.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    assert arguments == python_arguments(command, {"PATH": path, "GIVEN": "given"})
