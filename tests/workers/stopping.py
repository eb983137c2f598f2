"""A channel layer of a relay that stops itself, once, while it waits for Redis to take a batch."""

import asyncio
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from apps.realtime.layers import NotificationChannelLayer

#: The relay that removes this file stops.
ORDER = Path(os.environ.get("STOP_FILE", "stop"))


class StoppingLayer(NotificationChannelLayer):
    """Stops its process, as SIGSTOP from outside does, after it has begun to send a batch."""

    async def group_send_many(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        sending = asyncio.create_task(self._get_layer().group_send_many(messages))
        await asyncio.sleep(0)
        obey()
        await sending


def obey() -> None:
    """Stop this process, if it is told to."""
    with suppress(FileNotFoundError):
        ORDER.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
