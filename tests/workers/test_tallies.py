"""Processes of one server count together, and apart from all others; what is dead is forgotten."""

import fcntl
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import psutil
import pytest
from django.conf import settings as django_settings

from tests.waiting import PATIENCE, wait_until
from workers import tallies
from workers.tallies import VARIABLE, count_together


@pytest.fixture(autouse=True)
def apart(settings, tmp_path):
    """This process counts as before when a test is over; folders are the test's own."""
    settings.DATA_DIR = tmp_path
    with patch.dict(os.environ):
        yield
    while tallies._held:
        tallies._held.pop().close()


def folders(tmp_path):
    return sorted(folder.name for folder in (tmp_path / "metrics").iterdir())


def test_children_of_one_process_have_one_folder(tmp_path):
    """
    It is that process's, by its id and its birth; another kind has another.
    """
    for _ in range(2):
        count_together("web", os.getppid())
    assert os.environ[VARIABLE].startswith(f"{tmp_path}/metrics/web-{os.getppid()}-")
    count_together("worker", os.getpid())
    assert 2 == len(folders(tmp_path))


def test_what_nobody_counts_in_any_more_is_removed(tmp_path):
    """
    Also if its process was killed; what somebody counts in is left.
    """
    code = (
        "import django; from django.conf import settings;"
        "from pathlib import Path; settings.configure(DATA_DIR=Path(%r));"
        "import os; from workers.tallies import count_together;"
        "count_together('web', os.getpid()); print('there', flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code % str(tmp_path)],
        cwd=django_settings.BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert "there\n" == other.stdout.readline()
        count_together("worker", os.getpid())
        assert ["web", "worker"] == [name.partition("-")[0] for name in folders(tmp_path)]
    finally:
        other.kill()
        other.communicate()
    count_together("worker", os.getpid())
    assert ["worker"] == [name.partition("-")[0] for name in folders(tmp_path)]


def test_a_folder_that_is_taken_away_is_made_again(tmp_path):
    """
    Somebody who tidies up may come between.
    """
    folder = tmp_path / "metrics" / "web-1-1"
    first = tallies._hold(folder)
    (folder / "lock").unlink()
    folder.rmdir()
    with tallies._hold(folder) as second:
        assert folder.exists()
        assert os.fstat(second.fileno()).st_nlink
    first.close()


def test_a_folder_that_is_taken_away_meanwhile_is_made_again(tmp_path):
    """
    Who waits for a lock may find that it is of a folder that is no more.
    """
    folder = tmp_path / "metrics" / "web-1-1"
    folder.mkdir(parents=True)
    lock = folder / "lock"
    with ThreadPoolExecutor(1) as thread, lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = thread.submit(tallies._hold, folder)
        wait_until(
            lambda: [f.path for f in psutil.Process().open_files()].count(str(lock)) == 2,
            "it waits",
        )
        shutil.rmtree(folder)
        fcntl.flock(held, fcntl.LOCK_UN)
        with waiting.result(PATIENCE) as found:
            assert os.fstat(found.fileno()).st_ino == lock.stat().st_ino


def test_without_a_place_to_write_each_counts_for_itself(settings, tmp_path, caplog):
    """
    The server starts all the same, and the log says what is missing.
    """
    (tmp_path / "file").touch()
    settings.DATA_DIR = tmp_path / "file"
    os.environ[VARIABLE] = "elsewhere"
    count_together("web", os.getpid())
    assert VARIABLE not in os.environ
    assert "Metrics are of single processes" in caplog.text
