"""The supervisor: prefixed output, a second life for what dies, and a clean end."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from honcho.printer import Printer

from config.supervisor import Supervisor, _is_running, _wait_for_end

PYTHON = f"exec {sys.executable} -u -c"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"


@pytest.fixture
def out():
    return io.StringIO()


@pytest.fixture
def make(tmp_path, out):
    def make(**commands):
        return Supervisor(commands, os.environ, tmp_path / "processes.json", Printer(out))

    return make


@pytest.fixture(autouse=True)
def handlers():
    """The supervisor takes over the signals; they are given back."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)


def run_until(supervisor, condition, seconds=20):
    """Run until a condition holds; it is looked at each second."""
    deadline = time.monotonic() + seconds

    def look():
        if condition() or time.monotonic() > deadline:
            supervisor.stop()

    supervisor.run(look)


def test_output_is_prefixed(make, out):
    """
    Each line says whose it is.
    """
    supervisor = make(web="echo hello; exec sleep 60")
    run_until(supervisor, lambda: "hello" in out.getvalue())
    assert "web | hello" in out.getvalue()
    assert "up  | Stopping." in out.getvalue()


def test_what_dies_is_started_again_and_said(make, out):
    """
    A process that ends, or is killed, comes back; one that keeps dying comes back ever later.
    """
    supervisor = make(web="kill -9 $$", beat="exit 3", rest="exec sleep 60")
    run_until(supervisor, lambda: out.getvalue().count("ended with code 3") >= 3)
    said = out.getvalue()
    assert "web was killed by SIGKILL; starting it again." in said
    assert "beat ended with code 3; starting it again." in said
    assert "beat ended with code 3; starting it again in 1 seconds." in said
    assert "beat ended with code 3; starting it again in 2 seconds." in said
    assert "rest" not in said


def test_a_steady_process_comes_back_at_once(make):
    """
    Who ran for a while and died is not made to wait.
    """
    process = make(web="true").processes["web"]
    process.deaths = 5
    process.started = time.monotonic() - 60
    assert 0 == process.ended()


def test_a_signal_stops_everything(make, tmp_path):
    """
    On SIGTERM the processes end, and nothing is left running.
    """
    supervisor = make(web="exec sleep 60", worker="exec sleep 60")
    pids = []

    def look():
        pids[:] = [process.pid for process in supervisor.processes.values()]
        if all(pids):
            os.kill(os.getpid(), signal.SIGTERM)

    supervisor.run(look)
    assert 2 == len(pids)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not (tmp_path / "processes.json").exists()


def test_stopped_at_once_it_does_not_wait(make):
    """
    A process that was just being started when the end came is ended, too.
    """
    supervisor = make(web="exec sleep 60", worker="exec sleep 60")
    supervisor._start_what_is_due()
    start = time.monotonic()
    supervisor._stop_all()
    assert time.monotonic() - start < supervisor.stop_seconds / 2
    assert not any(process.lives for process in supervisor.processes.values())


def test_a_stubborn_process_is_killed(make, out):
    """
    Who ignores SIGTERM is killed, children included.
    """
    supervisor = make(web=f'{PYTHON} "{STUBBORN}"')
    supervisor.stop_seconds = 0.3
    start = time.monotonic()
    run_until(supervisor, lambda: "up" in out.getvalue())
    assert time.monotonic() - start < 20


class TestLeftovers:
    def leave(self, tmp_path, created=None):
        """Leave a process running, as a supervisor does that is killed."""
        process = subprocess.Popen(["sleep", "60"], start_new_session=True)
        created = created or psutil.Process(process.pid).create_time()
        (tmp_path / "processes.json").write_text(json.dumps([["web", process.pid, created]]))
        return process

    def test_are_ended_and_said(self, make, out, tmp_path):
        """
        What a killed earlier run left is ended before anything is started.
        """
        process = self.leave(tmp_path)
        make(web="true").end_leftovers()
        assert -signal.SIGKILL == process.wait()
        assert f"Ending web (process {process.pid})" in out.getvalue()

    def test_another_process_with_the_number_is_spared(self, make, tmp_path):
        """
        A number that was given to another process since is not ours to kill.
        """
        process = self.leave(tmp_path, created=1.0)
        make(web="true").end_leftovers()
        assert process.poll() is None
        process.kill()
        process.wait()

    def test_who_has_ended_meanwhile_is_not_waited_for(self):
        """
        A process that is gone, or only waits to be reaped, no longer runs.
        """
        child = subprocess.Popen(["sleep", "60"])
        process = psutil.Process(child.pid)
        assert _is_running(process)
        child.kill()
        _wait_for_end([process], 10)
        assert not _is_running(process)
        child.wait()
        assert not _is_running(process)

    @pytest.mark.parametrize("text", ["", "{", "[[1]]", '[["web", 4194303, 1.0]]'])
    def test_a_broken_file_is_no_obstacle(self, make, tmp_path, text):
        """
        A file that was half written, or names nobody, is put aside.
        """
        (tmp_path / "processes.json").write_text(text)
        make(web="true").end_leftovers()
        assert not (tmp_path / "processes.json").exists()
