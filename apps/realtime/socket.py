"""One connection: its turns, its frames and its end. What is said on it is the consumer's affair."""

import asyncio
import json
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.layers import get_channel_layer

from .authentication import Credentials
from .close_codes import CloseCode
from .conf import realtime_settings
from .deadlines import clock, timeout
from .grants import rights_stream
from .groups import group_for
from .rights import KEEP, Holding
from .subscriptions import Subscription

logger = logging.getLogger(__name__)

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
        #: When a task began to wait for the client to take a frame, by the socket's clock, and which.
        self.sending_since: float | None = None
        #: What a user asks of the database, whatever the socket, is asked one after the other.
        self.asking = asyncio.Semaphore()
        self._sender: asyncio.Task[Any] | None = None
        self._is_cut = False
        #: How far the stream of the user's rights was when they were last looked at.
        self.rights_offset = 0
        self._turn = asyncio.Lock()
        self._reminders: dict[tuple[str, str], None] = {}
        self._reminding: asyncio.Task[None] | None = None
        self.clock = clock()
        self.channel_layer = get_channel_layer(self.channel_layer_alias)
        self.channel_name = ""
        await self._layer_does(self._open_channel())
        listening = asyncio.create_task(self._listen()) if self.channel_name else None
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                await self._dispatch_in_turn(message)
        finally:
            await _end(listening, self._reminding)
            await self.end()

    async def dispatch(self, message: Message) -> None:
        """Called for each message. The parent's crossing to a thread before each one is left out."""
        try:
            handler = getattr(self, get_handler_name(message), None)
            if handler is None:
                logger.warning("Unknown message", extra={"action": "unknown_message"})
            elif not self.is_closed:
                await handler(message)
        except Exception:
            known = {"action": "consumer_failed", "stream": message.get("stream")}
            logger.exception("The consumer failed", extra=known)
            await self.close(CloseCode.INTERNAL_ERROR)

    # In

    async def _dispatch_in_turn(self, message: Message) -> None:
        async with self._turn:
            await self.dispatch(message)

    async def _listen(self) -> None:
        """Look at what the channel layer has. If it fails, the socket would be deaf."""
        try:
            while True:
                await self._dispatch_in_turn(await self.channel_layer.receive(self.channel_name))
        except Exception:
            logger.exception("The channel layer broke", extra={"action": "layer_broken"})
            async with self._turn:
                await self.close(CloseCode.INTERNAL_ERROR)

    def remind(self, kind: str, stream: str = "") -> None:
        """Have the socket look at something when it comes to it, once however often it is reminded."""
        self._reminders[kind, stream] = None
        if self._reminding is None or self._reminding.done():
            self._reminding = asyncio.create_task(self._look_after_reminders())

    async def _look_after_reminders(self) -> None:
        while self._reminders:
            kind, stream = next(iter(self._reminders))
            del self._reminders[kind, stream]
            await self._dispatch_in_turn({"type": kind, "stream": stream})

    # Out

    async def send(self, message: Message) -> None:
        """Send, and wait until the client can take more; unless somebody loses patience with it."""
        if self.is_closed:
            return
        self.sending_since, self._sender = self.clock.now, asyncio.current_task()
        try:
            await self.base_send(message)
        except asyncio.CancelledError:
            if not self._is_cut or self._sender is None or self._sender.uncancel():
                raise
            await self.close(CloseCode.TOO_SLOW)
        finally:
            self.sending_since = None

    def cut(self) -> None:
        """End the socket in the middle of a send: its client takes nothing."""
        # Not by a timeout for each send, which takes longer than the send.
        if self.sending_since is not None and self._sender is not None and not self._is_cut:
            self._is_cut = True
            self._sender.cancel()

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
                async with timeout(realtime_settings().SLOW_SECONDS):
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

    async def leave(self, subscription: Subscription) -> None:
        """Follow something no longer."""
        self.subscriptions.pop(subscription.stream, None)
        await self._leave_group(subscription.group)

    async def end(self) -> None:
        """Leave no ghost: a layer notices a cancelled `receive`, but not one that was just answered."""
        await self._leave_everything()
        if hasattr(self.channel_layer, "end_channel"):
            await self._layer_does(self.channel_layer.end_channel(self.channel_name))

    async def _leave_everything(self) -> None:
        for subscription in list(self.subscriptions.values()):
            await self.leave(subscription)
        if self.user is not None:
            await self._leave_group(group_for(self.rights))

    # The channel layer

    async def join(self, group: str) -> bool:
        """Hear what is published to a group. Returns whether it is so; our layer never says no."""
        return bool(self.channel_name) and await self._layer_does(
            self.channel_layer.group_add(group, self.channel_name)
        )

    async def _leave_group(self, group: str) -> None:
        # A layer that is away may go on sending: nobody follows it any more, so it is dropped.
        if self.channel_name:
            await self._layer_does(self.channel_layer.group_discard(group, self.channel_name))

    async def _open_channel(self) -> None:
        self.channel_name = await self.channel_layer.new_channel()

    async def _layer_does(self, act: Awaitable[None]) -> bool:
        """Whether the channel layer has done something. Ours always does; others raise what they like."""
        try:
            await act
        except Exception as error:  # noqa: BLE001  # whatever it is, it is not to leave the consumer
            logger.warning("The channel layer is away: %r", error, extra={"action": "layer_away"})
            return False
        return True


async def _end(*tasks: "asyncio.Task[None] | None") -> None:
    """Cancel tasks, and wait until they have ended."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
