"""What a socket is sent of what it follows: each offset once, in order, or a word that it isn't so."""

import json
import logging
from dataclasses import replace

from . import frames
from .catch_up import Page, read_page
from .close_codes import CloseCode
from .database import DATABASE_AWAY, in_database, shared
from .grants import session_mark
from .registry import kind_of_collection
from .resume import read_items, read_present
from .rights import KEEP, rule
from .socket import Message, Socket
from .subscriptions import Subscription, Verdict

logger = logging.getLogger(__name__)


class ForwardingSocket(Socket):
    """Forwards what its subscriptions are about, as long as its user may see it."""

    async def notification(self, message: Message) -> None:
        """Called with each envelope of a group: forward the next, drop a duplicate, fill a gap."""
        stream = message["stream"]
        subscription = self.subscriptions.get(stream)
        if subscription is None:
            await self._hear_of_rights(message)
            return
        is_complete = bool(message["frame"]) and not message.get("is_move")
        verdict = subscription.judge(message["epoch"], message["offset"], is_complete=is_complete)
        if verdict is Verdict.FORWARD:
            await self._forward(subscription, message["offset"], message["frame"], message["ends"])
        elif verdict is Verdict.CATCH_UP:
            self.remind("catch_up", stream)

    async def probe(self, message: Message) -> None:
        """Called when the relay has asked whether the channel layer is there. It is."""

    async def behind(self, message: Message) -> None:
        """Called when the channel layer may have lost messages."""
        for stream in self.subscriptions:
            self.remind("catch_up", stream)
        if self.user is not None:
            self.remind("reconsider")

    # The history

    async def catch_up(self, message: Message) -> None:
        """Called when there may be more: send a page of the history, or say that continuity is lost."""
        subscription = self.subscriptions.get(message["stream"])
        if subscription is None:
            return
        try:
            page = await shared(read_page, subscription.stream, subscription.offset)
            await self.send_page(subscription, page)
        except DATABASE_AWAY as error:
            # The next notification is a gap again, and the next position check finds one.
            note_away(error)

    async def send_page(self, subscription: Subscription, page: Page) -> None:
        """Send a page of the history, and come back for the next one if there is more."""
        entries, lost = page.after(subscription.position)
        for entry in entries:
            await self._forward(subscription, entry.offset, entry.frame, entry.ends)
        if lost:
            await self._resync(subscription, lost)
        is_followed = self.subscriptions.get(subscription.stream) is subscription
        if is_followed and not page.waits and subscription.offset < page.head.offset:
            self.remind("catch_up", subscription.stream)

    async def _forward(
        self, subscription: Subscription, offset: int, frame: str, ends: bool
    ) -> None:
        await self.send({"type": "websocket.send", "text": frame})
        subscription.offset = offset
        if ends:
            await self._end(subscription, "deleted")

    # Where continuity is lost

    async def _resync(self, subscription: Subscription, reason: str) -> None:
        present = await in_database(read_present, self.user, subscription)
        if present is None:
            await self._end(subscription, "revoked")
            return
        subscription.move_to(present.position)
        await self.send_frame(frames.resynced(subscription, present.payload, reason))
        await self.send_items(subscription, {})

    async def send_items(self, subscription: Subscription, answered: frames.Frame) -> None:
        """Send the objects of a collection, as they are now, page by page; of anything else, nothing."""
        if (collection := kind_of_collection(subscription.object_type)) is None:
            return
        after, is_last = None, False
        while not (is_last or self.is_closed):
            items, after = await in_database(
                read_items, self.user, collection, subscription.pk, after
            )
            is_last = after is None
            await self.send_frame(frames.snapshot(answered, subscription, items, is_last))

    async def _end(self, subscription: Subscription, reason: str) -> None:
        await self.leave(subscription)
        await self.send_frame(frames.unsubscribed(subscription.subject, reason))

    # Rights

    async def _hear_of_rights(self, message: Message) -> None:
        if self.user is None or message["stream"] != self.rights:
            return
        self.note_rights(message["offset"])
        _, session = self.credentials
        payload = json.loads(message["frame"] or "{}").get("payload", {})
        if session is not None and payload.get("session") == session_mark(session):
            await self.close(CloseCode.NOT_AUTHENTICATED)
        else:
            self.remind("reconsider")

    async def reconsider(self, message: Message) -> None:
        """Called when the user's rights may have become fewer."""
        try:
            (ruling,) = await in_database(rule, [self.holding])
        except DATABASE_AWAY as error:
            note_away(error)  # the next round asks again
        else:
            # What is gone has been deleted a moment ago, and its deletion is on its way.
            self.ruling = replace(ruling, gone=frozenset())
            await self.obey(message)

    async def obey(self, message: Message) -> None:
        """Called when somebody has looked at what the socket may keep."""
        ruling, self.ruling = self.ruling, KEEP
        if not ruling.is_authenticated:
            await self.close(CloseCode.NOT_AUTHENTICATED)
        for stream in ruling.lost & self.subscriptions.keys():
            await self._end(self.subscriptions[stream], "revoked")
        for stream in ruling.gone & self.subscriptions.keys():
            # Its deletion is on its way; if it is gone in two rounds, that wasn't announced.
            if self.subscriptions[stream].is_gone:
                await self._end(self.subscriptions[stream], "deleted")
            else:
                self.subscriptions[stream].is_gone = True


def note_away(error: Exception) -> None:
    """Put into the log that the database is away."""
    logger.warning("The database is away: %r", error, extra={"action": "database_away"})
