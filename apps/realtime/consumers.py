"""The consumer: one socket, its commands, and the notifications of its subscriptions."""

import json
import logging
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from django.db import DatabaseError, InterfaceError

from . import frames
from .authentication import RefusedError, authenticate, refuse_origin
from .close_codes import CloseCode
from .commands import Command, parse
from .conf import realtime_settings
from .database import in_database
from .exceptions import CommandError
from .subscriptions import Page, Subscription, Verdict, open_position, read_page, read_present

logger = logging.getLogger(__name__)

DATABASE_AWAY = (DatabaseError, InterfaceError)


class NotificationConsumer(AsyncConsumer):
    """
    Serves ``ws/notifications/`` as the room's README says.

    It looks at one message at a time, from the client or the channel layer, so that a subscription's
    offset needs no lock. No exception leaves it: Channels would end the socket without a reason.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.user: Any = None
        self.subscriptions: dict[str, Subscription] = {}
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._end_channel()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Called for each message. The parent's crossing to a thread before each one is left out."""
        handler = getattr(self, get_handler_name(message), None)
        try:
            if handler is None:
                logger.warning("Unknown message", extra={"action": "unknown_message"})
                return
            await handler(message)
        except StopConsumer:
            raise
        except Exception:
            logger.exception("The consumer failed", extra={"action": "consumer_failed"})
            await self.close(CloseCode.INTERNAL_ERROR)

    # The socket

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Called when a client connects. Accepted first: a browser can't read a refused handshake."""
        await self.send({"type": "websocket.accept"})
        try:
            refuse_origin(self.scope)
            self.user = await in_database(authenticate, self.scope)
        except RefusedError as refusal:
            await self.close(refusal.code)
        else:
            await self.send_frame(frames.hello(self.user.get_username()))

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Called with each frame of the client. Every command gets exactly one answer."""
        if self.user is None:
            return
        ref = None
        try:
            command = parse(message.get("text"))
            ref = command.ref
            await getattr(self, command.action)(command)
        except CommandError as refusal:
            refusal.ref = refusal.ref if ref is None else ref
            await self.send_frame(frames.error(refusal))
        except DATABASE_AWAY:
            logger.warning("The database is away", exc_info=True, extra={"action": "database_away"})
            away = CommandError("unavailable", "Try again later.", ref=ref, temporary=True)
            await self.send_frame(frames.error(away))

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """Called when the socket is gone."""
        raise StopConsumer

    # Commands

    async def subscribe(self, command: Command) -> None:
        """Join the group, then read the position, then answer: nothing committed later is missed."""
        new = Subscription.of(self.user, command.values)
        subscription = self.subscriptions.get(new.stream)
        if subscription is None:
            subscription = await self._open(new)
        await self.send_frame(frames.subscribed(subscription, command.ref))

    async def unsubscribe(self, command: Command) -> None:
        """Leave the group. Leaving what was not joined is no error."""
        subscription = Subscription.of(self.user, command.values)
        await self._leave(subscription)
        await self.send_frame(frames.unsubscribed(subscription.subject, "requested", command.ref))

    async def ping(self, command: Command) -> None:
        """Answer, so that the client sees that somebody is there."""
        await self.send_frame(frames.pong(command.ref))

    async def pong(self, command: Command) -> None:
        """The one command without an answer: it is one."""

    # The channel layer

    async def notification(self, message: dict[str, Any]) -> None:
        """Called with each envelope of a group: forward the next, drop a duplicate, fill a gap."""
        subscription = self.subscriptions.get(message["stream"])
        if subscription is None:
            return
        verdict = subscription.judge(
            message["epoch"], message["offset"], complete=bool(message["frame"])
        )
        if verdict is Verdict.FORWARD:
            await self._forward(subscription, message["offset"], message["frame"], message["ends"])
        elif verdict is Verdict.CATCH_UP:
            await self.catch_up(subscription)

    async def probe(self, message: dict[str, Any]) -> None:
        """Called when the relay has asked whether the channel layer is there. It is."""

    async def behind(self, message: dict[str, Any]) -> None:
        """Called when the channel layer may have lost messages."""
        for subscription in list(self.subscriptions.values()):
            await self.catch_up(subscription)

    # What lies between

    async def catch_up(self, subscription: Subscription) -> None:
        """Send what the history has after the subscription's offset, or say that continuity is lost."""
        try:
            while True:
                page = await in_database(read_page, subscription.stream, subscription.offset)
                if lost := await self._send_page(subscription, page):
                    await self._resync(subscription, lost)
                ended = subscription.stream not in self.subscriptions
                if ended or page.waits or subscription.offset >= page.head.offset:
                    break
        except DATABASE_AWAY:
            # The next notification is a gap again, and so another occasion.
            logger.warning("The database is away", extra={"action": "database_away"})

    async def _send_page(self, subscription: Subscription, page: Page) -> str:
        """Send a page of history as far as it continues; return why it doesn't, if so."""
        if page.head.epoch != subscription.epoch:
            return "epoch"
        for entry in page.entries:
            if entry.offset != subscription.offset + 1:
                return "pruned"
            await self._forward(subscription, entry.offset, entry.frame, entry.ends)
        is_hole = not page.entries and not page.waits and subscription.offset < page.head.offset
        return "pruned" if is_hole else ""

    async def _open(self, subscription: Subscription) -> Subscription:
        if len(self.subscriptions) >= realtime_settings().SUBSCRIPTIONS:
            raise CommandError("limit", "This socket has as many subscriptions as it may have.")
        await self.channel_layer.group_add(subscription.group, self.channel_name)
        try:
            position = await in_database(open_position, self.user, subscription)
        except DATABASE_AWAY:
            await self._leave(subscription)
            raise
        if position is None:
            await self._leave(subscription)
            raise CommandError("not_found", "There is no such object, or you may not see it.")
        subscription.epoch, subscription.offset = position.epoch, position.offset
        self.subscriptions[subscription.stream] = subscription
        return subscription

    async def _leave(self, subscription: Subscription) -> None:
        self.subscriptions.pop(subscription.stream, None)
        await self.channel_layer.group_discard(subscription.group, self.channel_name)

    async def _forward(
        self, subscription: Subscription, offset: int, frame: str, ends: bool
    ) -> None:
        await self.send({"type": "websocket.send", "text": frame})
        subscription.offset = offset
        if ends:
            await self._end(subscription, "deleted")

    async def _resync(self, subscription: Subscription, reason: str) -> None:
        present = await in_database(read_present, self.user, subscription)
        if present is None:
            await self._end(subscription, "revoked")
            return
        position, payload = present
        subscription.epoch, subscription.offset = position.epoch, position.offset
        await self.send_frame(frames.resynced(subscription, payload, reason))

    async def _end(self, subscription: Subscription, reason: str) -> None:
        await self._leave(subscription)
        await self.send_frame(frames.unsubscribed(subscription.subject, reason))

    async def _end_channel(self) -> None:
        """Leave no ghost: a layer notices a cancelled `receive`, but not one that was just answered."""
        for subscription in list(self.subscriptions.values()):
            await self._leave(subscription)
        if hasattr(self.channel_layer, "end_channel"):
            await self.channel_layer.end_channel(self.channel_name)

    async def send_frame(self, frame: dict[str, Any]) -> None:
        """Send a control frame."""
        await self.send({"type": "websocket.send", "text": json.dumps(frame)})

    async def close(self, code: CloseCode) -> None:
        """End the socket with a code that tells the client whether to come back."""
        self.user = None
        for subscription in list(self.subscriptions.values()):
            await self._leave(subscription)
        await self.send({"type": "websocket.close", "code": int(code)})
