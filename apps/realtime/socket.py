"""One connection: its inbox, its frames and its end. What is said on it is the consumer's affair."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from channels.layers import get_channel_layer

from .authentication import Credentials
from .close_codes import CloseCode
from .conf import realtime_settings
from .grants import rights_stream
from .groups import group_for
from .rights import KEEP, Holding
from .subscriptions import Subscription

logger = logging.getLogger(__name__)

#: What says to a socket that it has been reminded.
WAKE = {"type": "wake"}
#: Messages that are taken out of their queues before the last one is done with.
INBOX_MESSAGES = 16

Message = dict[str, Any]


class Socket(AsyncConsumer):
    """
    Looks at one message at a time: of the client, of the channel layer, or a reminder from this process.

    So a subscription's offset needs no lock. No exception leaves it: Channels would end the socket
    without a reason.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.base_send = scope, send
        self.user: Any = None
        self.credentials: Credentials = (None, None)
        self.subscriptions: dict[str, Subscription] = {}
        self.ruling = KEEP
        self.is_closed = False
        self.heartbeat_at = 0.0
        #: When the server began to wait for the client to take what it is sent; none while it doesn't.
        self.sending_since: float | None = None
        self._is_cut = False
        self._rights_offset: int | None = None
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(INBOX_MESSAGES)
        self._reminders: dict[tuple[str, str], None] = {}
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self.channel_layer = get_channel_layer(self.channel_layer_alias)
        self.channel_name = await self.channel_layer.new_channel()
        receive_from_layer = partial(self.channel_layer.receive, self.channel_name)
        pumps = [
            asyncio.create_task(self._pump(source)) for source in (receive, receive_from_layer)
        ]
        try:
            while True:
                await self.dispatch(await self._inbox.get())
                if self._reminders:  # one for each message: neither waits for all of the other
                    await self._look_after_reminder()
        except StopConsumer:
            pass
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await self.end()

    async def dispatch(self, message: Message) -> None:
        """Called for each message. The parent's crossing to a thread before each one is left out."""
        handler = getattr(self, get_handler_name(message), None)
        try:
            if handler is None:
                logger.warning("Unknown message", extra={"action": "unknown_message"})
            elif not self.is_closed or message["type"] == "websocket.disconnect":
                await handler(message)
        except StopConsumer:
            raise
        except Exception:
            logger.exception("The consumer failed", extra={"action": "consumer_failed"})
            await self.close(CloseCode.INTERNAL_ERROR)

    # In

    def remind(self, kind: str, stream: str = "") -> None:
        """Have the socket look at something when it comes to it, once however often it is reminded."""
        self._reminders[kind, stream] = None
        if self._inbox.empty():
            self._inbox.put_nowait(WAKE)

    async def wake(self, message: Message) -> None:
        """Called when there was nothing but a reminder."""

    async def _look_after_reminder(self) -> None:
        kind, stream = next(iter(self._reminders))
        del self._reminders[kind, stream]
        await self.dispatch({"type": kind, "stream": stream})
        if self._reminders and self._inbox.empty():
            self._inbox.put_nowait(WAKE)

    async def _pump(self, source: Callable[[], Awaitable[Message]]) -> None:
        """Move messages into the inbox, no more than it holds: the rest waits where it is bounded."""
        try:
            while True:
                await self._inbox.put(await source())
        except Exception:
            logger.exception("A source of messages broke", extra={"action": "source_broken"})
            await self._inbox.put({"type": "source.broken"})

    async def source_broken(self, message: Message) -> None:
        """Called when the channel layer fails: from now on this socket would be deaf."""
        await self.close(CloseCode.INTERNAL_ERROR)

    async def websocket_disconnect(self, message: Message) -> None:
        """Called when the client is gone."""
        raise StopConsumer

    # Out

    async def send(self, message: Message) -> None:
        """Send, and wait until the client can take more; unless somebody loses patience with it."""
        if self.is_closed:
            return
        self.sending_since = self._loop.time()
        try:
            await self.base_send(message)
        except asyncio.CancelledError:
            if not self._is_cut or self._task is None or self._task.uncancel():
                raise
            await self.close(CloseCode.TOO_SLOW)
        finally:
            self.sending_since = None

    def cut(self) -> None:
        """End the socket in the middle of a send: its client takes nothing."""
        # Not by a timeout for each send, which takes longer than the send.
        if self.sending_since is not None and self._task is not None and not self._is_cut:
            self._is_cut = True
            self._task.cancel()

    async def send_frame(self, frame: dict[str, Any]) -> None:
        """Send a control frame."""
        await self.send({"type": "websocket.send", "text": json.dumps(frame)})

    async def close(self, code: CloseCode) -> None:
        """End the socket with a code that tells the client whether to come back."""
        if not self.is_closed:
            self.is_closed = True
            await self._leave_everything()
            with suppress(
                TimeoutError
            ):  # a server may have it wait, too; then the client is gone for good
                async with asyncio.timeout(realtime_settings().SLOW_SECONDS):
                    await self.base_send({"type": "websocket.close", "code": int(code)})

    # What it has

    @property
    def rights(self) -> str:
        """The stream on which is announced what ends the user's rights."""
        return rights_stream(self.user.pk)

    @property
    def holding(self) -> Holding:
        """What the socket has, for who decides whether it may keep it."""
        subscriptions = tuple(self.subscriptions.values())
        return Holding(
            scope=self.scope,
            credentials=self.credentials,
            user_pk=self.user.pk,
            subscriptions=subscriptions,
        )

    def note_rights(self, offset: int) -> bool:
        """Note how far the user's rights were looked at; return whether there was more than was known."""
        known, self._rights_offset = self._rights_offset, offset
        return known is not None and offset > known

    async def leave(self, subscription: Subscription) -> None:
        """Follow something no longer."""
        self.subscriptions.pop(subscription.stream, None)
        await self.channel_layer.group_discard(subscription.group, self.channel_name)

    async def end(self) -> None:
        """Leave no ghost: a layer notices a cancelled `receive`, but not one that was just answered."""
        await self._leave_everything()
        if hasattr(self.channel_layer, "end_channel"):
            await self.channel_layer.end_channel(self.channel_name)

    async def _leave_everything(self) -> None:
        for subscription in list(self.subscriptions.values()):
            await self.leave(subscription)
        if self.user is not None:
            await self.channel_layer.group_discard(group_for(self.rights), self.channel_name)
