"""Tests of the folders in which processes of one server share their metrics."""

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

from pillarbox.monitoring.probes import shared_metrics
from pillarbox.monitoring.probes.shared_metrics import VARIABLE, share_metrics
from tests.waiting import PATIENCE, wait_until


@pytest.fixture(autouse=True)
def apart(settings, tmp_path):
    """Give the test its own folders, and restore this process's environment afterwards."""
    settings.PILLARBOX = settings.PILLARBOX | {"METRICS_FOLDER": str(tmp_path / "metrics")}
    with patch.dict(os.environ):
        yield
    while shared_metrics._locks:
        shared_metrics._locks.pop().close()


def folders(tmp_path):
    return sorted(folder.name for folder in (tmp_path / "metrics").iterdir())


def test_children_of_one_process_have_one_folder(tmp_path):
    """
    Processes of one owner share a folder, named by kind, process id and start time.
    """
    for _ in range(2):
        share_metrics("web", os.getppid())
    assert os.environ[VARIABLE].startswith(f"{tmp_path}/metrics/web-{os.getppid()}-")
    share_metrics("worker", os.getpid())
    assert 2 == len(folders(tmp_path))


def test_unused_folders_are_removed(tmp_path):
    """
    The folder of a dead process is removed, even if it was killed; folders in use stay.
    """
    code = (
        "import django; from django.conf import settings;"
        "settings.configure(PILLARBOX={'METRICS_FOLDER': %r});"
        "import os; from pillarbox.monitoring.probes.shared_metrics import share_metrics;"
        "share_metrics('web', os.getpid()); print('there', flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code % str(tmp_path / "metrics")],
        cwd=django_settings.BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert "there\n" == other.stdout.readline()
        share_metrics("worker", os.getpid())
        assert ["web", "worker"] == [name.partition("-")[0] for name in folders(tmp_path)]
    finally:
        other.kill()
        other.communicate()
    share_metrics("worker", os.getpid())
    assert ["worker"] == [name.partition("-")[0] for name in folders(tmp_path)]


def test_a_removed_folder_is_created_again(tmp_path):
    """
    A folder that another process has removed is created again.
    """
    folder = tmp_path / "metrics" / "web-1-1"
    first = shared_metrics._lock_folder(folder)
    (folder / "lock").unlink()
    folder.rmdir()
    with shared_metrics._lock_folder(folder) as second:
        assert folder.exists()
        assert os.fstat(second.fileno()).st_nlink
    first.close()


def test_a_folder_removed_during_the_wait_is_created_again(tmp_path):
    """
    A lock whose folder is removed during the wait is replaced by one in a new folder.
    """
    folder = tmp_path / "metrics" / "web-1-1"
    folder.mkdir(parents=True)
    lock = folder / "lock"
    with ThreadPoolExecutor(1) as thread, lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = thread.submit(shared_metrics._lock_folder, folder)
        wait_until(
            lambda: [f.path for f in psutil.Process().open_files()].count(str(lock)) == 2,
            "it waits",
        )
        shutil.rmtree(folder)
        fcntl.flock(held, fcntl.LOCK_UN)
        with waiting.result(PATIENCE) as found:
            assert os.fstat(found.fileno()).st_ino == lock.stat().st_ino


def test_without_a_writable_folder_processes_count_separately(settings, tmp_path, caplog):
    """
    If the folder can't be written, the server starts anyway, and a warning is logged.
    """
    (tmp_path / "file").touch()
    settings.PILLARBOX = settings.PILLARBOX | {"METRICS_FOLDER": str(tmp_path / "file")}
    os.environ[VARIABLE] = "elsewhere"
    share_metrics("web", os.getpid())
    assert VARIABLE not in os.environ
    assert "exposes only its own metrics" in caplog.text
