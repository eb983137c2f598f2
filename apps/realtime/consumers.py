"""The consumer: what a client may ask for, and how it is answered."""

import asyncio
from collections import Counter

from . import frames
from .authentication import RefusedError, credentials, refuse_origin
from .close_codes import CloseCode
from .commands import Command, Request, parse, read
from .conf import realtime_settings
from .database import DATABASE_AWAY, in_database
from .deadlines import timeout
from .exceptions import CommandError
from .forwarding import note_away
from .groups import group_for
from .limits import TokenBucket
from .rights import come_in
from .rounds import rounds
from .socket import Message
from .subscribing import SubscribingSocket


class NotificationConsumer(SubscribingSocket):
    """Serves ``ws/notifications/`` as the room's README says."""

    # The socket

    async def websocket_connect(self, message: Message) -> None:
        """Called when a client connects. Accepted first: a browser can't read a refused handshake."""
        await self.send({"type": "websocket.accept"})
        try:
            refuse_origin(self.scope)
            async with timeout(realtime_settings().DATABASE_SECONDS), rounds().door:
                user, self.rights_offset = await in_database(come_in, self.scope)
        except RefusedError as refusal:
            await self.close(refusal.code)
            return
        except DATABASE_AWAY as error:
            note_away(error)
            await self.close(CloseCode.INTERNAL_ERROR)
            return
        if rounds().is_full(user):
            await self.close(CloseCode.TOO_MANY)
            return
        self.user, self.credentials = user, credentials(self.scope)
        self._bucket = TokenBucket(asyncio.get_running_loop().time())
        #: Refusals in a row that a client in its senses would not earn.
        self._abuse: Counter[str] = Counter()
        self.heartbeat_at = self.clock.now + realtime_settings().HEARTBEAT_SECONDS
        rounds().enter(self)
        if await self.join(group_for(self.rights)):
            await self.send_frame(frames.hello(str(user.get_username())))
        else:
            await self.close(CloseCode.INTERNAL_ERROR)

    async def end(self) -> None:
        """Called when the socket is gone."""
        await rounds().leave(self)
        await super().end()

    async def heartbeat(self, message: Message) -> None:
        """Called when it is time for a sign of life."""
        self.heartbeat_at = self.clock.now + realtime_settings().HEARTBEAT_SECONDS
        await self.send_frame(frames.ping())

    # Commands

    async def websocket_receive(self, message: Message) -> None:
        """Called with each frame of the client. Every command gets an answer: one for each entry."""
        ref = None
        try:
            request = self._read(message.get("text"))
            ref = request.ref
            self._charge(request.cost)
            command = parse(request)
            self._abuse.clear()
            await getattr(self, command.action)(command)
        except CommandError as refusal:
            await self.refuse(refusal, frames.answer(ref))
            await self._end_abuse(refusal.code)

    async def ping(self, command: Command) -> None:
        """Answer, so that the client sees that somebody is there."""
        await self.send_frame(frames.pong(command.ref))

    async def pong(self, command: Command) -> None:
        """The one command without an answer: it is one."""

    def _read(self, text: str | None) -> Request:
        """Return what a frame asks for. Raises CommandError; what makes no sense is not cheaper."""
        try:
            return read(text)
        except CommandError:
            self._charge(1)
            raise

    def _charge(self, cost: int) -> None:
        """Raise CommandError if the client goes too fast."""
        if wait := self._bucket.take(cost, asyncio.get_running_loop().time()):
            text = "Too many commands."
            raise CommandError("rate_limited", text, temporary=True, retry_after=wait)

    async def _end_abuse(self, code: str) -> None:
        """End a socket whose client sends nothing that makes sense, or far too much."""
        conf = realtime_settings()
        self._abuse[code] += 1
        if self._abuse["malformed"] >= conf.MALFORMED_FRAMES:
            await self.close(CloseCode.PROTOCOL_ABUSE)
        elif self._abuse["rate_limited"] >= conf.COMMANDS_PER_SECOND:
            await self.close(CloseCode.TOO_MANY)
