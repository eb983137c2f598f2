"""The channel layer of processes under test: the real one, a journal, and orders. Chosen in settings."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterable
from typing import Any

from apps.realtime.layers import NotificationChannelLayer

from . import orders


class JournalLayer(NotificationChannelLayer):
    """Hands on to Redis, and notes what Redis took. A line is written at once or not at all."""

    async def group_send_many(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        batch = list(messages)
        notifications = [message for _, message in batch if "frame" in message]
        await self._misbehave(notifications)
        await self._get_layer().group_send_many(batch)
        if notifications:
            self._note(notifications)
            orders.obey(orders.DIE_AFTER_PUBLISH)

    async def _misbehave(self, notifications: list[dict[str, Any]]) -> None:
        if orders.is_ordered(orders.AWAY):
            raise ConnectionRefusedError("Nobody listens.")
        if orders.is_ordered(orders.HANG):
            await asyncio.Event().wait()
        if orders.is_ordered(orders.SLOW):
            await asyncio.sleep(0.2)
        if notifications:
            orders.obey(orders.DIE_BEFORE_PUBLISH)
            orders.obey(orders.STOP)
        if any(orders.POISON in message["frame"] for message in notifications):
            os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, notifications: list[dict[str, Any]]) -> None:
        lines = [
            {
                "stream": message["stream"],
                "offset": message["offset"],
                "content": _content(json.loads(message["frame"])["payload"]),
                "at": time.time(),
            }
            for message in notifications
        ]
        with (orders.FOLDER / "journal").open("a") as journal:
            journal.write("".join(f"{json.dumps(line)}\n" for line in lines))


def _content(payload: Any) -> str:
    return payload.get("title") or payload.get("name", "gone")
