"""
Where the processes of a web server, or of a worker, count together.

prometheus_client keeps what each of them counts in files, in one folder, and decides when it is imported
whether it does. Whatever imports it is imported afterwards.
"""

import fcntl
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil
from django.conf import settings

logger = logging.getLogger(__name__)

#: Where prometheus_client looks for the folder.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: In each folder; whoever counts there holds it.
LOCK = "lock"

_held: list[IO[str]] = []


def count_together(kind: str, owner: int) -> None:
    """
    Count in one folder with the other processes of ``owner``, a process id; say so to prometheus_client.

    The folder is of this very server's life: another one has another, on the same machine, too. Those
    whose processes have all ended are removed. Where nothing can be written the log says so, and each
    process counts for itself.
    """
    os.environ.pop(VARIABLE, None)
    folders = settings.DATA_DIR / "metrics"
    try:
        folder = folders / f"{kind}-{owner}-{psutil.Process(owner).create_time():.2f}"
        _held.append(_hold(folder))
        for other in set(folders.iterdir()) - {folder}:
            _remove_if_abandoned(other)
    except (OSError, psutil.Error) as error:
        extra = {"action": "metrics_apart"}
        logger.warning("Metrics are of single processes, not of all: %s", error, extra=extra)
        return
    os.environ[VARIABLE] = str(folder)


def _hold(folder: Path) -> IO[str]:
    """Return the lock of a folder, held by this process and those that it forks."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # somebody takes the folder away
            lock = (folder / LOCK).open("a")
            fcntl.flock(lock, fcntl.LOCK_SH)
            if os.fstat(lock.fileno()).st_nlink:
                return lock
            lock.close()


def _remove_if_abandoned(folder: Path) -> None:
    with suppress(OSError), (folder / LOCK).open() as lock:  # held, another user's, or gone
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
