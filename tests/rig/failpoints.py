"""
Failpoints of the processes of a site: places in their code at which a test can make them fail.

A failpoint is set while a file of its name is in a folder of the site's DATA_DIR. The first process that
reaches one that kills or stops removes the file. So only one process dies or stops there.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder

#: Failpoints that take effect once, in the first process that reaches them.
DIE_BEFORE_WAKE_UP, DIE_BEFORE_PUBLISH, DIE_AFTER_PUBLISH = "die-wake-up", "die-before", "die-after"
DIE_WHILE_RENDERING = "die-rendering"
STOP, STOP_WHILE_RENDERING = "stop", "stop-rendering"
#: Failpoints that take effect until they are cleared.
AWAY, HANG, SLOW, LOSE = "away", "hang", "slow", "lose"
#: A worker that publishes a payload with this text dies, every time.
POISON = "poison"


def folder_in(data_dir: Path) -> Path:
    """Return the folder of the failpoints."""
    return data_dir / "failpoints"


def is_set(name: str) -> bool:
    """Whether a failpoint is set."""
    return (folder_in(Path(settings.DATA_DIR)) / name).exists()


def reach(name: str) -> None:
    """Called at a failpoint that kills or stops. If it is set, clear it, and die or stop."""
    with suppress(FileNotFoundError):
        (folder_in(Path(settings.DATA_DIR)) / name).unlink()
        os.kill(os.getpid(), signal.SIGSTOP if name.startswith(STOP) else signal.SIGKILL)


class Encoder(DjangoJSONEncoder):
    """The JSON encoder of payloads, with failpoints while rendering."""

    def encode(self, value: Any) -> str:
        """Called when a payload is rendered."""
        reach(DIE_WHILE_RENDERING)
        reach(STOP_WHILE_RENDERING)
        return super().encode(value)


def wake_up(using: str) -> None:
    """Wake up a worker, unless the failpoint between the commit and the wake-up is set."""
    from pillarbox.relay import celery_wake_ups  # noqa: PLC0415  # settings name this module before Django is ready

    reach(DIE_BEFORE_WAKE_UP)
    celery_wake_ups.wake_up(using)
