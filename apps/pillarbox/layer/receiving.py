"""Receiving from our channel layer, or from another one."""

import asyncio
from contextlib import suppress
from typing import Any

import redis

from .cancellation import is_task_cancelled


async def receive(layer: Any, channel: str) -> dict[str, Any]:
    """Return the next message of a channel, however long it takes. Raises the layer's error if it fails."""
    while not is_task_cancelled():  # redis-py may swallow a cancellation
        # redis-py ends a wait of channels-redis' core layer after its own time limit: nothing came.
        with suppress(redis.TimeoutError):
            return await layer.receive(channel)  # type: ignore[no-any-return]
    raise asyncio.CancelledError
