"""A channel layer that stops the relay's process once, while it waits for Redis to accept a batch."""

import asyncio
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pillarbox.layer.layers import NotificationChannelLayer

#: A process that finds this file removes it, and stops itself.
ORDER = Path(os.environ.get("STOP_FILE", "stop"))


class StoppingLayer(NotificationChannelLayer):
    """A layer that stops its process, as an outside SIGSTOP would, after it has begun to send a batch."""

    async def group_send_many(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        sending = asyncio.create_task(self._get_layer().group_send_many(messages))
        await asyncio.sleep(0)
        stop_if_ordered()
        await sending


def stop_if_ordered() -> None:
    """Stop this process, if the file exists."""
    with suppress(FileNotFoundError):
        ORDER.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
