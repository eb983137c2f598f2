"""Orders to processes under test: files in a folder. Who removes one, carries it out; nobody else does."""

import os
import signal
from contextlib import suppress
from pathlib import Path

#: Carried out once, by whoever comes first: it ends, or stops, at that point.
DIE_BEFORE_BELL, DIE_BEFORE_PUBLISH, DIE_AFTER_PUBLISH = "die-bell", "die-before", "die-after"
STOP = "stop"
#: In force while they are there.
AWAY, HANG, SLOW = "away", "hang", "slow"
#: What is published with this word in it kills its worker, each time.
POISON = "poison"

FOLDER = Path(os.environ.get("FAULTS_FOLDER", "."))


def is_ordered(order: str) -> bool:
    """Whether an order is in force."""
    return (FOLDER / order).exists()


def obey(order: str) -> None:
    """Carry out an order that is given once, if it is given."""
    with suppress(FileNotFoundError):
        (FOLDER / order).unlink()
        os.kill(os.getpid(), signal.SIGSTOP if order == STOP else signal.SIGKILL)


def ring(using: str) -> None:
    """A bell at which a process may die: after its commit, before anybody hears of it."""
    from workers import bell  # noqa: PLC0415  # settings name this module before Django is ready

    obey(DIE_BEFORE_BELL)
    bell.ring(using)
