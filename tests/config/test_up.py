"""Tests of `manage.py up` and `manage.py servers`, run as at the first time."""

import os
import re
import signal
import socket
import urllib.request
from contextlib import ExitStack, suppress

import psutil
import pytest

from tests.ports import free_port
from tests.program import Program
from tests.waiting import wait_until

#: Variables of the tests, which aren't set when `up` is run for the first time.
OURS = {"DATABASE_URL", "REDIS_URL", "DEBUG", "SECRET_KEY", "DJANGO_SETTINGS_MODULE"}


class Run(Program):
    """A command of manage.py with a data folder of its own, and its output."""

    def __init__(self, data_dir, *command, **environment):
        self.port, self.daphne_port = free_port(), free_port()
        inherited = {name: value for name, value in os.environ.items() if name not in OURS}
        own = {
            "DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            "DAPHNE_PORT": str(self.daphne_port),
        }
        super().__init__(["manage.py", *command], {**inherited, **own, **environment})

    def until(self, words):
        super().until(re.escape(words))

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.ended()

    def give_up(self):
        """End the command, if it still runs."""
        if self.process.poll() is None:  # pragma: no cover  # only after a failed test
            self.process.terminate()
            self.ended()


@pytest.fixture
def run(tmp_path):
    """Return a function that runs commands in the test's folder; afterwards nothing is left running."""
    runs = []

    def run(*command, **environment):
        runs.append(Run(tmp_path, *command, **environment))
        return runs[-1]

    yield run
    with ExitStack() as stack:
        stack.callback(end_all_in, tmp_path)
        for each in runs:
            stack.callback(each.give_up)


def end_all_in(folder):
    """Kill the processes that are left in the folder."""
    for process in running_in(folder):  # pragma: no cover  # only a failed test leaves any
        with suppress(psutil.NoSuchProcess):
            process.kill()


def running_in(folder):
    """Return the processes whose command line or environment names the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("DATA_DIR", "")]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(process)
    return found


def kill(folder, is_it):
    """Wait for a matching process of the folder, and kill it."""

    def found():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            return next(filter(is_it, running_in(folder)), None)

    wait_until(found, "it runs").kill()


class TestUp:
    def test_everything_runs_and_nothing_is_left(self, run, tmp_path):
        """
        An empty folder becomes a running site; killed processes are restarted; Ctrl-C ends all.
        """
        up = run("up")
        try:
            up.until("Ctrl-C stops everything.")
            for line in (
                "PostgreSQL started",
                "Redis started",
                "Applying pillarbox.0001_initial",
                "The demo data is there.",
                f"The page     http://localhost:{up.port}/\n",
                f"http://localhost:{up.port}/api/",
                f"ws://localhost:{up.daphne_port}/ws/notifications/",
                "demo, other, admin",
            ):
                assert line in up.printed
            with urllib.request.urlopen(f"http://127.0.0.1:{up.port}/admin/login/") as answer:
                assert 200 == answer.status
            for path in ("admin/css/base.css", "tickets/page.js", "pillarbox/notifications.js"):
                with urllib.request.urlopen(f"http://127.0.0.1:{up.port}/static/{path}") as answer:
                    assert 200 == answer.status
            kill(tmp_path, lambda process: "beat" in process.cmdline())
            up.until("beat was killed by SIGKILL; starting it again.")
            kill(tmp_path, lambda process: "redis-server" in process.name())
            wait_until(lambda: up.printed.count("Redis started") == 2, "Redis is started again")
        finally:
            assert 0 == up.end()
        assert "Everything has stopped." in up.printed
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    def test_after_a_kill_it_starts_again(self, run, tmp_path):
        """
        Locks, servers and processes of a killed run don't hinder the next one.
        """
        up = run("up")
        up.until("Ctrl-C stops everything.")
        up.end(signal.SIGKILL)
        again = run("up", PORT=str(up.port), DAPHNE_PORT=str(up.daphne_port))
        try:
            again.until("Ctrl-C stops everything.")
            assert "left behind by an earlier run" in again.printed
        finally:
            again.end(signal.SIGTERM)
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    @pytest.mark.parametrize("variable", ["PORT", "DAPHNE_PORT"])
    def test_a_port_in_use(self, run, tmp_path, variable):
        """
        Before anything is started, the error names the port and the variable.
        """
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            up = run("up", **{variable: str(port)})
            assert 1 == up.ended()
        assert f"Port {port} can't be used (Address already in use)" in up.printed
        assert f"set {variable} to another" in up.printed
        assert "Traceback" not in up.printed
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    def test_one_port_for_both(self, run, tmp_path):
        """
        The two servers can't share a port.
        """
        port = str(free_port())
        up = run("up", PORT=port, DAPHNE_PORT=port)
        assert 1 == up.ended()
        assert "PORT and DAPHNE_PORT are the same" in up.printed

    def test_a_folder_in_use(self, run, tmp_path):
        """
        The error names the process that owns the folder.
        """
        servers = run("servers")
        try:
            servers.until("Ctrl-C stops both.")
            up = run("up")
            assert 1 == up.ended()
            assert f"is in use by process {servers.process.pid}" in up.printed
            assert 1 == run("servers").ended()
        finally:
            assert 0 == servers.end()
        assert re.search("DATABASE_URL=postgresql://.*\nREDIS_URL=unix://", servers.printed)
        assert "Both have stopped." in servers.printed
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    def test_a_failed_migration_stops_the_start(self, run, tmp_path):
        """
        If a migration fails, the command says so and ends.
        """
        up = run(
            "up",
            DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
            SECRET_KEY="x1" * 30,
        )
        assert 1 == up.ended()
        assert "manage.py migrate failed; its output is above." in up.printed
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    def test_in_production_there_are_no_demo_accounts(self, run, tmp_path):
        """
        With DEBUG off there are no demo accounts, and static files are collected.
        """
        up = run("up", DEBUG="off", SECRET_KEY="x1" * 30, ALLOWED_HOSTS="localhost")
        try:
            up.until("Ctrl-C stops everything.")
            assert "Accounts" not in up.printed
            assert "static files copied" in up.printed
        finally:
            up.end()
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_early_it_stops(self, run, tmp_path, number):
        """
        Ctrl-C or SIGTERM during the migrations leaves nothing running.
        """
        up = run("up")
        up.until("Operations to perform")
        up.end(number)
        assert "Everything has stopped." in up.printed
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")
