"""One client's connection: sending, and closing."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from ..close_codes import CloseCode
from ..conf import pillarbox_settings
from ..deadlines import clock, timeout
from . import frames

Message = dict[str, Any]


class Connection:
    """A client's connection. It interrupts a send to a client that has stopped reading, and closes once."""

    def __init__(
        self,
        send: Callable[[Message], Awaitable[None]],
        before_close: Callable[[], Awaitable[None]],
    ) -> None:
        self._send, self._before_close = send, before_close
        self.is_closed = False
        self.clock = clock()
        #: When the next heartbeat is due, by the clock.
        self.heartbeat_at = 0.0
        #: When the send began that waits for the client, by the clock; `_sender` is its task.
        self.sending_since: float | None = None
        self._sender: asyncio.Task[Any] | None = None
        self._is_cut = False

    async def send(self, message: Message) -> None:
        """Send, and wait until the client can take more. If `cut` interrupts it, close the connection."""
        if self.is_closed:
            return
        self.sending_since, self._sender = self.clock.now, asyncio.current_task()
        try:
            await self._send(message)
        except asyncio.CancelledError:
            if not self._is_cut or self._sender is None or self._sender.uncancel():
                raise
            await self.close(CloseCode.TOO_SLOW)
        finally:
            self.sending_since = None

    def cut(self) -> None:
        """Interrupt a send whose client has stopped reading, which closes the connection."""
        # A timeout around each send would cost more time than the send itself.
        if self.sending_since is not None and self._sender is not None and not self._is_cut:
            self._is_cut = True
            self._sender.cancel()

    async def send_frame(self, frame: frames.Frame) -> None:
        """Send a control frame."""
        await self.send({"type": "websocket.send", "text": json.dumps(frame)})

    async def send_heartbeat(self) -> None:
        """Send a heartbeat, and set the time of the next one."""
        self.postpone_heartbeat()
        await self.send_frame(frames.ping())

    def postpone_heartbeat(self) -> None:
        """Set the time of the next heartbeat, ``HEARTBEAT_SECONDS`` from now."""
        self.heartbeat_at = self.clock.now + pillarbox_settings().HEARTBEAT_SECONDS

    async def close(self, code: CloseCode) -> None:
        """Close the connection with a code that tells the client whether to reconnect."""
        if not self.is_closed:
            self.is_closed = True
            await self._before_close()
            # A server may block here, too. By then the client no longer reads, so nothing is lost.
            with suppress(TimeoutError):
                async with timeout(pillarbox_settings().SLOW_SECONDS):
                    await self._send({"type": "websocket.close", "code": int(code)})
