"""`manage.py up` and `manage.py servers`, run as a newcomer runs them."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import ExitStack, suppress

import psutil
import pytest
from django.conf import settings

from tests.ports import free_port
from tests.waiting import PATIENCE, wait_until

#: Variables of the tests, which a person who starts `up` for the first time doesn't have.
OURS = {"DATABASE_URL", "REDIS_URL", "DEBUG", "SECRET_KEY", "DJANGO_SETTINGS_MODULE"}


class Run:
    """A command of manage.py in a folder of its own, and what it says."""

    def __init__(self, data_dir, *command, **environment):
        self.port, self.daphne_port = free_port(), free_port()
        inherited = {name: value for name, value in os.environ.items() if name not in OURS}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", *command],
            cwd=settings.BASE_DIR,
            env={
                **inherited,
                "DATA_DIR": str(data_dir),
                "PORT": str(self.port),
                "DAPHNE_PORT": str(self.daphne_port),
                **environment,
            },
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

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        code = self.process.wait(PATIENCE)
        self._reader.join()
        self.process.stdout.close()
        return code

    def give_up(self):
        """End it, if the test hasn't."""
        if self.process.poll() is None:  # pragma: no cover  # only after a failed test
            self.process.terminate()
            self.ended()


@pytest.fixture
def run(tmp_path):
    """Run commands of manage.py in the test's folder; whatever becomes of the test, nothing runs after it."""
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
    """Kill what is left."""
    for process in running_in(folder):  # pragma: no cover  # only a failed test leaves any
        with suppress(psutil.NoSuchProcess):
            process.kill()


def running_in(folder):
    """Return the processes whose command line or environment names a folder."""
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
    """Kill a process of a folder, once it is there."""

    def found():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            return next(filter(is_it, running_in(folder)), None)

    wait_until(found, "it runs").kill()


class TestUp:
    def test_everything_runs_and_nothing_is_left(self, run, tmp_path):
        """
        From an empty folder to a site that answers; what is killed comes back; Ctrl-C ends it all.
        """
        up = run("up")
        try:
            up.until("Ctrl-C stops everything.")
            for line in (
                "PostgreSQL started",
                "Redis started",
                "Applying outbox.0001_initial",
                "The demo data is there.",
                f"The page     http://localhost:{up.port}/\n",
                f"http://localhost:{up.port}/api/",
                f"ws://localhost:{up.daphne_port}/ws/notifications/",
                "demo, other, admin",
            ):
                assert line in up.said
            with urllib.request.urlopen(f"http://127.0.0.1:{up.port}/admin/login/") as answer:
                assert 200 == answer.status
            for path in ("admin/css/base.css", "tickets/page.js", "realtime/notifications.js"):
                with urllib.request.urlopen(f"http://127.0.0.1:{up.port}/static/{path}") as answer:
                    assert 200 == answer.status
            kill(tmp_path, lambda process: "beat" in process.cmdline())
            up.until("beat was killed by SIGKILL; starting it again.")
            kill(tmp_path, lambda process: "redis-server" in process.name())
            wait_until(lambda: up.said.count("Redis started") == 2, "Redis is started again")
        finally:
            assert 0 == up.end()
        assert "Everything has stopped." in up.said
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    def test_after_a_kill_it_starts_again(self, run, tmp_path):
        """
        What a killed run left behind, locks, servers and processes, is no obstacle.
        """
        up = run("up")
        up.until("Ctrl-C stops everything.")
        up.end(signal.SIGKILL)
        again = run("up", PORT=str(up.port), DAPHNE_PORT=str(up.daphne_port))
        try:
            again.until("Ctrl-C stops everything.")
            assert "left behind by an earlier run" in again.said
        finally:
            again.end(signal.SIGTERM)
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    @pytest.mark.parametrize("variable", ["PORT", "DAPHNE_PORT"])
    def test_a_port_in_use_is_a_sentence(self, run, tmp_path, variable):
        """
        Before anything is started it says which port, and what to do.
        """
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            up = run("up", **{variable: str(port)})
            assert 1 == up.ended()
        assert f"Port {port} can't be used (Address already in use)" in up.said
        assert f"set {variable} to another" in up.said
        assert "Traceback" not in up.said
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    def test_two_of_one_port_is_a_sentence(self, run, tmp_path):
        """
        The two servers can't listen at one address.
        """
        port = str(free_port())
        up = run("up", PORT=port, DAPHNE_PORT=port)
        assert 1 == up.ended()
        assert "PORT and DAPHNE_PORT are the same" in up.said

    def test_a_folder_in_use_is_a_sentence(self, run, tmp_path):
        """
        A second one says who was first.
        """
        servers = run("servers")
        try:
            servers.until("Ctrl-C stops both.")
            up = run("up")
            assert 1 == up.ended()
            assert f"is in use by process {servers.process.pid}" in up.said
            assert 1 == run("servers").ended()
        finally:
            assert 0 == servers.end()
        assert re.search("DATABASE_URL=postgresql://.*\nREDIS_URL=unix://", servers.said)
        assert "Both have stopped." in servers.said
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    def test_a_failed_migration_stops_the_start(self, run, tmp_path):
        """
        With a database that refuses, it says so and stops.
        """
        up = run(
            "up",
            DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
            SECRET_KEY="x1" * 30,
        )
        assert 1 == up.ended()
        assert "manage.py migrate failed; what it said is above." in up.said
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    def test_in_production_there_are_no_demo_accounts(self, run, tmp_path):
        """
        With DEBUG off there are no well-known passwords, and the static files are collected.
        """
        up = run("up", DEBUG="off", SECRET_KEY="x1" * 30, ALLOWED_HOSTS="localhost")
        try:
            up.until("Ctrl-C stops everything.")
            assert "Accounts" not in up.said
            assert "static files copied" in up.said
        finally:
            up.end()
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_early_it_stops(self, run, tmp_path, number):
        """
        Ctrl-C or SIGTERM during the migrations leaves nothing running either.
        """
        up = run("up")
        up.until("Operations to perform")
        up.end(number)
        assert "Everything has stopped." in up.said
        wait_until(lambda: not running_in(tmp_path), "nothing is left running")
