"""
Orders to the processes of a site: files in a folder of its DATA_DIR.

A process that reaches an ordered point dies or stops there. The first one removes the file, so that no other
obeys.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

from django.conf import settings

#: Carried out once, by the first process that reaches the point.
DIE_BEFORE_WAKE_UP, DIE_BEFORE_PUBLISH, DIE_AFTER_PUBLISH = "die-wake-up", "die-before", "die-after"
STOP = "stop"
#: In force while the file is there.
AWAY, HANG, SLOW, LOSE = "away", "hang", "slow", "lose"
#: Publishing a payload with this word in it kills the worker, each time.
POISON = "poison"


def folder_in(data_dir: Path) -> Path:
    """Return the folder of the orders."""
    return data_dir / "orders"


def is_given(order: str) -> bool:
    """Whether an order is in force."""
    return (folder_in(Path(settings.DATA_DIR)) / order).exists()


def obey(order: str) -> None:
    """Carry out an order of those that are carried out once, if it is given."""
    with suppress(FileNotFoundError):
        (folder_in(Path(settings.DATA_DIR)) / order).unlink()
        os.kill(os.getpid(), signal.SIGSTOP if order == STOP else signal.SIGKILL)


def wake_up(using: str) -> None:
    """Wake a worker, unless this process is to die first: after its commit, before any worker knows."""
    from workers import bell  # noqa: PLC0415  # settings name this module before Django is ready

    obey(DIE_BEFORE_WAKE_UP)
    bell.ring(using)
