"""The channel layer of a site under test: Redis, with failpoints and a journal of its publications."""

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

from pillarbox.layer.layers import NotificationChannelLayer

from . import failpoints
from .history import Published, content_of, journal_in, line

#: The share of messages that is lost while the failpoint LOSE is set.
LOSS = 0.3


class RigLayer(NotificationChannelLayer):
    """The project's channel layer, which has failpoints and keeps a journal."""

    async def group_send_many(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Publish a batch and record it in the journal. It may die, hang, or lose messages."""
        batch = list(messages)
        notifications = [message for _, message in batch if "frame" in message]
        await self._reach_failpoints_before(notifications)
        await self._get_layer().group_send_many([one for one in batch if is_kept()])
        if notifications:
            note(notifications)
            failpoints.reach(failpoints.DIE_AFTER_PUBLISH)

    async def _reach_failpoints_before(self, notifications: list[dict[str, Any]]) -> None:
        if failpoints.is_set(failpoints.AWAY):
            raise ConnectionRefusedError("The failpoint AWAY is set.")
        if failpoints.is_set(failpoints.HANG):
            await asyncio.Event().wait()
        if failpoints.is_set(failpoints.SLOW):
            await asyncio.sleep(0.2)
        if notifications:
            failpoints.reach(failpoints.DIE_BEFORE_PUBLISH)
            failpoints.reach(failpoints.STOP)
        if any(failpoints.POISON in message["frame"] for message in notifications):
            os.kill(os.getpid(), signal.SIGKILL)  # pragma: no cover  # coverage dies with it


def is_kept() -> bool:
    """Decide whether to send a message. It may be lost while the failpoint LOSE is set."""
    return not failpoints.is_set(failpoints.LOSE) or random.random() >= LOSS


def note(notifications: Iterable[dict[str, Any]]) -> None:
    """Add publications to the journal. A killed process may leave its last line incomplete."""
    published = [
        Published(
            stream=message["stream"],
            offset=message["offset"],
            content=content_of(json.loads(message["frame"]).get("payload")),
            at=time.time(),
        )
        for message in notifications
        # A project is announced when its members change. The ledger has changes of tickets only.
        if not message["stream"].startswith("project:")
    ]
    # Begin with a line break: a killed process may have left its line incomplete.
    text = "".join(["\n", *map(line, published)])
    with journal_in(Path(settings.DATA_DIR)).open("ab", buffering=0) as journal:
        journal.write(text.encode())
