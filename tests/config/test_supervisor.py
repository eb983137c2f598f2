"""Tests of the supervisor: prefixed output, restarts, and a clean end."""

import io
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from honcho.printer import Printer

from config.supervisor import Supervisor, _is_running, _wait_for_end
from tests.waiting import PATIENCE, wait_until

PYTHON = f"exec {sys.executable} -u -c"
LISTENING = """
import socket, threading, time
server = socket.create_server(("127.0.0.1", 0))
for _ in range(30):
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
print(server.getsockname()[1], flush=True)
time.sleep(3600)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(3600)"


@pytest.fixture
def out():
    return io.StringIO()


class Events(queue.Queue):
    """The queue of the processes' events, which records those that were taken."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def get(self, *arguments, **options):
        self.seen.append(super().get(*arguments, **options))
        return self.seen[-1]

    @property
    def ends(self):
        """The processes' exit codes in order; signals are negative."""
        return [event.data["returncode"] for event in self.seen if event.type == "stop"]


@pytest.fixture
def make(tmp_path, out):
    def make(**commands):
        made = Supervisor(commands, os.environ, tmp_path / "processes.json", Printer(out))
        made._events = Events()
        made.stop_seconds = PATIENCE
        return made

    return make


@pytest.fixture(autouse=True)
def handlers():
    """Restore the signal handlers that the supervisor replaces."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)


def run_until(supervisor, condition):
    """Run until the condition is true, which is checked each second."""
    deadline = time.monotonic() + PATIENCE

    def look():
        if condition() or time.monotonic() > deadline:
            supervisor.stop()

    supervisor.run(look)


def test_output_is_prefixed(make, out):
    """
    Each line begins with its process's name.
    """
    supervisor = make(web="echo hello; exec sleep 3600")
    run_until(supervisor, lambda: "hello" in out.getvalue())
    assert "web | hello" in out.getvalue()
    assert "up  | Stopping." in out.getvalue()


def test_processes_that_end_are_restarted(make, out):
    """
    A process that ends is restarted, with growing delays, and the restart is printed.
    """
    supervisor = make(web="kill -9 $$", beat="exit 3", rest="exec sleep 3600")
    run_until(supervisor, lambda: out.getvalue().count("ended with code 3") >= 3)
    said = out.getvalue()
    assert "web was killed by SIGKILL; starting it again." in said
    assert "beat ended with code 3; starting it again." in said
    assert "beat ended with code 3; starting it again in 1 seconds." in said
    assert "beat ended with code 3; starting it again in 2 seconds." in said
    assert "rest" not in said


def test_a_steady_process_is_restarted_at_once(make):
    """
    A process that ran for a while is restarted without delay.
    """
    process = make(web="true").processes["web"]
    process.deaths = 5
    process.started = time.monotonic() - 60
    assert 0 == process.ended()


def test_a_signal_stops_everything(make, tmp_path):
    """
    SIGTERM ends the processes, and leaves nothing running.
    """
    supervisor = make(web="exec sleep 3600", worker="exec sleep 3600")
    pids = []

    def look():
        pids[:] = [process.pid for process in supervisor.processes.values()]
        if all(pids):  # not sent: without a handler it would end the tests
            signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)

    supervisor.run(look)
    assert 2 == len(pids)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert [-signal.SIGTERM] * 2 == supervisor._events.ends
    assert not (tmp_path / "processes.json").exists()


def test_a_stop_during_the_start(make):
    """
    A process that is being started during the stop is ended, too.
    """
    supervisor = make(web="exec sleep 3600", worker="exec sleep 3600")
    supervisor._start_what_is_due()
    supervisor._stop_all()
    assert [-signal.SIGTERM] * 2 == supervisor._events.ends
    assert not any(process.is_running for process in supervisor.processes.values())


def test_a_stubborn_process_is_killed(make, out):
    """
    A process that ignores SIGTERM is killed with its children.
    """
    supervisor = make(web=f'sleep 3600 & echo child $!; {PYTHON} "{STUBBORN}"')
    supervisor.stop_seconds = 0.3
    run_until(supervisor, lambda: "web | up" in out.getvalue())
    assert [-signal.SIGKILL] == supervisor._events.ends
    (child,) = re.findall(r"child (\d+)", out.getvalue())
    wait_until(lambda: not _runs(int(child)), "its child is dead, too")


def _runs(pid):
    return psutil.pid_exists(pid) and _is_running(psutil.Process(pid))


class TestLeftovers:
    def leave(self, tmp_path, created=None):
        """Leave a process running, like a killed supervisor."""
        process = subprocess.Popen(["sleep", "3600"], start_new_session=True)
        created = created or psutil.Process(process.pid).create_time()
        (tmp_path / "processes.json").write_text(json.dumps([["web", process.pid, created]]))
        return process

    def test_are_killed(self, make, out, tmp_path):
        """
        Processes of a killed earlier run are killed, which is printed.
        """
        process = self.leave(tmp_path)
        make(web="true").end_leftovers()
        assert -signal.SIGKILL == process.wait()
        assert f"Ending web (process {process.pid})" in out.getvalue()

    def test_another_process_with_the_same_id(self, make, tmp_path):
        """
        A newer process with the same id isn't killed.
        """
        process = self.leave(tmp_path, created=1.0)
        make(web="true").end_leftovers()
        try:
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()

    def test_ended_processes_are_not_waited_for(self):
        """
        A process that has ended, or is a zombie, counts as not running.
        """
        child = subprocess.Popen(["sleep", "3600"])
        process = psutil.Process(child.pid)
        assert _is_running(process)
        child.kill()
        _wait_for_end([process], PATIENCE)
        assert not _is_running(process)
        child.wait()
        assert not _is_running(process)

    def test_ports_are_free_when_their_server_has_ended(self):
        """
        A threaded server counts as running until its ports are free, not only until its first thread ends.
        """
        for _ in range(20):
            child = subprocess.Popen([sys.executable, "-c", LISTENING], stdout=subprocess.PIPE)
            port = int(child.stdout.readline())
            child.kill()
            _wait_for_end([psutil.Process(child.pid)], PATIENCE)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
            child.communicate()

    @pytest.mark.parametrize("text", ["", "{", "[[1]]", '[["web", 4194303, 1.0]]'])
    def test_a_damaged_file(self, make, tmp_path, text):
        """
        A damaged file, or one that names no process, is deleted.
        """
        (tmp_path / "processes.json").write_text(text)
        make(web="true").end_leftovers()
        assert not (tmp_path / "processes.json").exists()
