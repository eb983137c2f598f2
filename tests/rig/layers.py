"""The channel layer of a site under test: Redis, with a journal of what it took, and with orders."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.realtime.layers import NotificationChannelLayer

from . import orders
from .history import Published, journal_in, line

#: The part of the messages that is lost while LOSE is ordered.
LOSS = 0.3


class RigLayer(NotificationChannelLayer):
    """The layer of the site's settings."""

    async def group_send_many(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Publish a batch, or die, hang, or lose some of it, as ordered. Note what was taken."""
        batch = list(messages)
        notifications = [message for _, message in batch if "frame" in message]
        await self._obey_before(notifications)
        await self._get_layer().group_send_many([one for one in batch if is_kept()])
        if notifications:
            note(notifications)
            orders.obey(orders.DIE_AFTER_PUBLISH)

    async def _obey_before(self, notifications: list[dict[str, Any]]) -> None:
        if orders.is_given(orders.AWAY):
            raise ConnectionRefusedError("Nothing listens.")
        if orders.is_given(orders.HANG):
            await asyncio.Event().wait()
        if orders.is_given(orders.SLOW):
            await asyncio.sleep(0.2)
        if notifications:
            orders.obey(orders.DIE_BEFORE_PUBLISH)
            orders.obey(orders.STOP)
        if any(orders.POISON in message["frame"] for message in notifications):
            os.kill(os.getpid(), signal.SIGKILL)  # pragma: no cover  # nothing survives to tell


def is_kept() -> bool:
    """Whether a message arrives: always, or mostly while losing is ordered."""
    return not orders.is_given(orders.LOSE) or random.random() >= LOSS


def note(notifications: Iterable[dict[str, Any]]) -> None:
    """Add to the journal what the layer took. A process that is killed may leave the last line cut short."""
    published = [
        Published(
            stream=message["stream"],
            offset=message["offset"],
            content=content_of(json.loads(message["frame"])["payload"]),
            at=time.time(),
        )
        for message in notifications
    ]
    # It begins with the end of a line, which a killed process may not have written.
    text = "".join(["\n", *map(line, published)])
    with journal_in(Path(settings.DATA_DIR)).open("ab", buffering=0) as journal:
        journal.write(text.encode())


def content_of(payload: Any) -> str:
    """Return what tells a payload from all others of its stream."""
    return str(payload.get("title") or payload.get("name", "gone"))
