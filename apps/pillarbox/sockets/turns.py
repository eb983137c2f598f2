"""The order of one socket's work: one step at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ..close_codes import CloseCode
from ..logs import get_logger
from .connection import Connection

logger = get_logger(__name__)

#: Called with a message, with the name of a stream, or with nothing.
Step = Callable[..., Awaitable[None]]


class Turns:
    """
    The turns in which a socket takes its steps: for the client, for the channel layer, for housekeeping.

    Only one step runs at a time, so a subscription's offset needs no lock. No step's exception leaves it:
    Channels would end the socket without a close code.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()
        self._scheduled: dict[tuple[Step, tuple[str, ...]], None] = {}
        self._task: asyncio.Task[None] | None = None

    async def take(self, step: Step, *args: Any) -> None:
        """Wait for a turn, and run a step. Does nothing if the connection is closed by then."""
        async with self._lock:
            await self._run(step, args)

    def schedule(self, step: Step, *stream: str) -> None:
        """Run a step in a later turn, for a stream if one is named. Equal steps that wait count as one."""
        self._scheduled[step, stream] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run_scheduled())

    async def end(self) -> None:
        """Cancel the scheduled steps."""
        await cancel(self._task)

    async def _run_scheduled(self) -> None:
        while self._scheduled:
            step, stream = next(iter(self._scheduled))
            del self._scheduled[step, stream]
            await self.take(step, *stream)

    async def _run(self, step: Step, args: tuple[Any, ...]) -> None:
        try:
            if not self._connection.is_closed:
                await step(*args)
        except Exception:
            known = {"action": "consumer_failed", "stream": _stream_of(*args)}
            logger.exception("The consumer failed", extra=known)
            await self._connection.close(CloseCode.INTERNAL_ERROR)


async def cancel(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task, if there is one, and wait for its end."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _stream_of(about: Any = None) -> Any:
    """Return the stream of a step's argument: of a message, or named itself; None if there is none."""
    return about.get("stream") if isinstance(about, dict) else about
