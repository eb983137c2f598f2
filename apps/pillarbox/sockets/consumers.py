"""The consumer of ``ws/notifications/``, by which Channels serves a socket."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from channels.consumer import AsyncConsumer

from ..close_codes import CloseCode
from ..conf import pillarbox_settings
from ..deadlines import timeout
from ..layer.envelope import is_ours
from ..layer.layers import BEHIND
from ..layer.receiving import receive
from ..logs import get_logger
from .admission import accept, admit_by_frame
from .channel import Channel
from .connection import Message
from .housekeeping.recurring import housekeeping
from .socket import Socket
from .turns import cancel

logger = get_logger(__name__)

#: Sockets that end: the event loop alone would forget their tasks.
_finishing: "set[asyncio.Task[None]]" = set()


class NotificationConsumer(AsyncConsumer):
    """The consumer. It gives each message of the client and of the channel layer to a part of its socket."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        channel = Channel()
        self.socket = Socket(
            scope=scope,
            send=send,
            channel=channel,
            ends_reader=housekeeping().ends_reader,
            request_check=housekeeping().request_check,
        )
        await channel.open()
        listening = asyncio.create_task(self._listen()) if channel.name else None
        try:
            while (message := await self._next(receive))["type"] != "websocket.disconnect":
                await self.socket.turns.take(self._receive, message)
                # Waiting frames are received without a pause, so a busy client would block all others.
                await asyncio.sleep(0)
        finally:
            # Daphne cancels consumers that take long to end, once a second. The shield lets the socket end
            # completely.
            finishing = asyncio.create_task(self._finish(listening))
            _finishing.add(finishing)
            finishing.add_done_callback(_finishing.discard)
            await asyncio.shield(finishing)

    async def _next(self, receive: Callable[[], Awaitable[Message]]) -> Message:
        """Return the server's next message. Refuses a client whose one-time token doesn't arrive in time."""
        if self.socket.awaits_token:
            with suppress(TimeoutError):
                async with timeout(pillarbox_settings().HANDSHAKE_SECONDS):
                    return await receive()
            await self.socket.turns.take(self._refuse)
        return await receive()

    async def _receive(self, message: Message) -> None:
        """Called with each message of the server, until the client disconnects."""
        if message["type"] == "websocket.connect":
            await accept(self.socket)
        elif _is_too_large(message):
            # Not 1009: plain Daphne lets no application send a code below 3000.
            await self.socket.connection.close(CloseCode.PROTOCOL_ABUSE)
        elif self.socket.awaits_token:
            await admit_by_frame(self.socket, message.get("text"))
        else:
            await self.socket.commands.receive(message)

    async def _listen(self) -> None:
        """Receive the channel layer's messages. Closes the socket if the layer fails."""
        channel, take = self.socket.channel, self.socket.turns.take
        forward = self.socket.forwarder.receive
        try:
            while True:
                message = await receive(channel.layer, channel.name)
                # A message of another program may have displaced one of ours.
                if not is_ours(message):
                    logger.warning(
                        "A message of the channel layer is unknown",
                        extra={"action": "unknown_message"},
                    )
                    message = BEHIND
                if message["type"] == "notification":
                    await take(forward, message)
                elif message["type"] == BEHIND["type"]:
                    # In a turn, so that a subscription that is just starting is compared, too.
                    await take(self._note_behind)
        except Exception:
            logger.exception("The channel layer broke", extra={"action": "layer_broken"})
            await take(self._give_up)

    async def _note_behind(self) -> None:
        housekeeping().positions.note_behind(self.socket)

    async def _refuse(self) -> None:
        await self.socket.connection.close(CloseCode.NOT_AUTHENTICATED)

    async def _give_up(self) -> None:
        await self.socket.connection.close(CloseCode.INTERNAL_ERROR)

    async def _finish(self, listening: "asyncio.Task[None] | None") -> None:
        await asyncio.gather(cancel(listening), self.socket.turns.end())
        await housekeeping().leave(self.socket)
        await self.socket.end()


def _is_too_large(message: Message) -> bool:
    """Return whether a client's frame has too many bytes. Our Daphne passes no such frame on."""
    text, data = message.get("text"), message.get("bytes")
    size = len(text.encode(errors="surrogatepass") if text is not None else data or b"")
    return size > pillarbox_settings().COMMAND_BYTES
