"""Tests of the keeper: however its owner ends, nothing that the owner has started is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.rig.keeper import MARK, ROOT
from tests.rig.servers import is_dead
from tests.waiting import PATIENCE, wait_until

START = """
import os, subprocess, sys
from pathlib import Path
from tests.rig.forkserver import fork_server
from tests.rig.keeper import MARK, Keeper, KeeperError
keeper = Keeper(measured=True)
"""
#: A child, and a grandchild in a session of its own.
CHILD = "import subprocess as s; s.Popen(['sleep', '600'], start_new_session=True); s.run(['sleep', '600'])"
FAMILY = f"""
folder = keeper.make_folder()
keeper.serve(folder)
keeper.serve(folder)
subprocess.Popen([sys.executable, "-c", "{CHILD}"], start_new_session=True)
sleep = "import os; os.execlp('sleep', 'sleep', '600')"
forked = fork_server().start(["-c", sleep], os.environ, stdout=2, stderr=2)
print(folder, flush=True)
"""


@pytest.fixture
def owner():
    """Return a function that starts a program with a keeper."""
    started = []

    def start(code, **environment):
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", START + code],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def names(process):
    return [child.name() for child in process.children(recursive=True)]


@pytest.mark.parametrize(
    ("then", "number"),
    [
        ("sys.stdin.read()", signal.SIGKILL),
        ("sys.stdin.read()", signal.SIGTERM),
        ("sys.stdin.read(); os._exit(3)", None),
        ("sys.stdin.read(); keeper.end()", None),
    ],
    ids=["SIGKILL", "SIGTERM", "os._exit", "the end"],
)
def test_nothing_is_left(owner, then, number):
    """
    Processes, forks, children in sessions of their own, servers and the keeper end. The folder is removed.
    """
    running = owner(FAMILY + then)
    folder = Path(running.stdout.readline().strip())
    servers = [one for one in psutil.process_iter() if works_in(one, folder)]
    process = psutil.Process(running.pid)
    wait_until(lambda: names(process).count("sleep") == 3, "all of them run")
    family = [*process.children(recursive=True), *servers]
    assert {"sleep", "postgres", "redis-server"} <= {one.name() for one in family}
    if number:
        running.send_signal(number)
    running.communicate("")
    wait_until(lambda: all(map(is_dead, family)), "all have ended")
    wait_until(lambda: not folder.exists(), "the folder is gone")


def works_in(process, folder):
    try:
        return Path(process.cwd()).is_relative_to(folder)
    except (psutil.Error, OSError):
        return False


def test_a_server_that_another_process_has_started(owner, tmp_path):
    """
    A server in a watched folder ends with the owner; elsewhere it keeps running.
    """
    redis = (
        "from config.embedded import Servers; Servers(Path(sys.argv[1]), postgres=False).start()"
    )
    found = {}
    for name in ("watched", "other"):
        command = [sys.executable, "-c", f"import sys; from pathlib import Path; {redis}"]
        unmarked = {key: value for key, value in os.environ.items() if key != MARK}
        (tmp_path / name).mkdir()
        subprocess.run([*command, tmp_path / name], cwd=ROOT, env=unmarked, check=True)
        (found[name],) = (one for one in psutil.process_iter() if works_in(one, tmp_path / name))
    owner(f"keeper.watch(Path({str(tmp_path / 'watched')!r})); keeper.end()").wait(PATIENCE)
    wait_until(lambda: is_dead(found["watched"]), "it has ended")
    assert not is_dead(found["other"])
    found["other"].kill()


def test_nested_keepers(owner):
    """
    A process has the marks of all keepers above it, so that each of them can end it.
    """
    inner = f"subprocess.run([sys.executable, '-c', {START!r} + 'print(os.environ[MARK])'])"
    running = owner(inner, **{MARK: "outermost"})
    first, *others = running.communicate()[0].split()
    assert ("outermost", 2) == (first, len(set(others)))


def test_errors_are_sentences(owner, tmp_path):
    """
    The owner receives the server's message, and can continue.
    """
    blank = str(tmp_path / "a folder")
    code = f"""
try:
    keeper.serve(Path({blank!r}))
except KeeperError as error:
    print(error)
folder = keeper.make_folder()
keeper.serve(folder, postgres=False)
keeper.remove(folder)
print(folder.exists())
"""
    printed = owner(code).communicate()[0]
    assert "The embedded PostgreSQL can't live in" in printed
    assert printed.endswith("False\n")
