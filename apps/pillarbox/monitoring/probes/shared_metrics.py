"""
The folder in which the processes of one web server, or of one worker, share their metrics.

prometheus_client keeps the counts of each process in a file of this folder, if an environment variable names
it. It reads the variable when it is imported, so import it after the call of `share_metrics`.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from ...conf import pillarbox_settings
from ...logs import get_logger

logger = get_logger(__name__)

#: The environment variable from which prometheus_client takes the folder.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: The lock file in each folder. Every process with a file there holds a shared lock on it.
LOCK = "lock"

_locks: list[IO[str]] = []


def share_metrics(kind: str, owner: int) -> None:
    """
    Share metrics with the other processes of a server, whose process id is ``owner``.

    They share a folder, one for each run of a server. Folders of runs that have ended are removed. If the
    folder can't be written, a warning is logged, and this process exposes only its own metrics. Needs the
    package's extra ``metrics``.
    """
    import psutil  # noqa: PLC0415  # only callers of this need it

    os.environ.pop(VARIABLE, None)
    temporary = f"{tempfile.gettempdir()}/pillarbox-metrics-{os.getuid()}"
    folders = Path(pillarbox_settings().METRICS_FOLDER or temporary)
    try:
        folder = folders / f"{kind}-{owner}-{psutil.Process(owner).create_time():.2f}"
        _locks.append(_lock_folder(folder))
        for other in set(folders.iterdir()) - {folder}:
            _remove_if_abandoned(other)
    except (OSError, psutil.Error) as error:
        extra = {"action": "metrics_apart"}
        logger.warning("This process exposes only its own metrics: %s", error, extra=extra)
        return
    os.environ[VARIABLE] = str(folder)


def _lock_folder(folder: Path) -> IO[str]:
    """Return the folder's lock, held by this process and those that it forks."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another process is removing the folder
            lock = (folder / LOCK).open("a")
            fcntl.flock(lock, fcntl.LOCK_SH)
            if os.fstat(lock.fileno()).st_nlink:
                return lock
            lock.close()


def _remove_if_abandoned(folder: Path) -> None:
    with suppress(OSError), (folder / LOCK).open() as lock:  # in use, another user's, or gone
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
