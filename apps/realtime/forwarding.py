"""What a socket is sent of what it follows: each offset once, in order, or a word that it isn't so."""

import json
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from . import frames
from .catch_up import Page, read_page
from .close_codes import CloseCode
from .conf import realtime_settings
from .database import DATABASE_AWAY, in_database, shared
from .grants import session_mark
from .metrics import DELAY, DUPLICATES, GAP, RESYNCED, present
from .registry import kind_of_collection
from .resume import read_items, read_present
from .rights import KEEP
from .rounds import rounds
from .socket import Message, Socket
from .subscriptions import Subscription, Verdict

P = ParamSpec("P")
T = TypeVar("T")

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
            # The message is the same for all sockets of the process: the first one notes it.
            if written_at := message.pop("at", ""):
                DELAY.observe_rows([written_at])
                _trace(message)
        elif verdict is Verdict.CATCH_UP:
            GAP.inc()
            self.remind("catch_up", stream)
        else:
            DUPLICATES.inc()

    async def probe(self, message: Message) -> None:
        """Called when the relay has asked whether the channel layer is there. It is."""

    async def behind(self, message: Message) -> None:
        """Called when the channel layer may have lost messages."""
        if self.user is not None:
            rounds().note_behind(self)

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
            if not self._is_followed(subscription):
                return
            if self.ruling is not KEEP:  # first what it may keep, however slowly its client reads
                lost = ""
                break
        if lost:
            await self._resync(subscription, lost)
        elif not page.waits and subscription.offset < page.head.offset:
            self.remind("catch_up", subscription.stream)

    async def _forward(
        self, subscription: Subscription, offset: int, frame: str, ends: bool
    ) -> None:
        await self.send({"type": "websocket.send", "text": frame})
        subscription.offset = offset
        present.deliveries += 1
        if ends:
            await self._end(subscription, "deleted")

    # Where continuity is lost

    async def _resync(self, subscription: Subscription, reason: str) -> None:
        present = await self.ask(read_present, self.user, subscription)
        if present is None:
            await self._end(subscription, "revoked")
            return
        subscription.move_to(present.position)
        RESYNCED[reason].inc()
        await self.send_frame(frames.resynced(subscription, present.payload, reason))
        self.show(subscription, {})

    def show(self, subscription: Subscription, answered: frames.Frame) -> None:
        """Have the objects of a collection sent, as they are now; of anything else, nothing."""
        if kind_of_collection(subscription.object_type) is not None:
            subscription.next_page = (answered, None)
            self.remind("show_page", subscription.stream)

    async def show_page(self, message: Message) -> None:
        """
        Called when a page of a collection is to be sent. What can't be shown whole ends the socket.

        One in each turn: what the page was read without, a deletion say, comes after it.
        """
        subscription = self.subscriptions.get(message["stream"])
        if subscription is None or subscription.next_page is None:
            return
        answered, after = subscription.next_page
        try:
            items, after = await self.ask(read_items, self.user, subscription, after)
        except DATABASE_AWAY as error:
            note_away(error)
            await self.close(CloseCode.INTERNAL_ERROR)
            return
        subscription.next_page = None if after is None else (answered, after)
        if after is not None:
            self.remind("show_page", subscription.stream)
        await self.send_frame(frames.snapshot(answered, subscription, items, after is None))

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what `in_database` does, for one of the user's sockets at a time: others' have threads left."""
        async with self.asking:
            return await in_database(function, *args, **kwargs)

    async def _end(self, subscription: Subscription, reason: str) -> None:
        await self.leave(subscription)
        await self.send_frame(frames.unsubscribed(subscription.subject, reason))

    # Rights

    async def _hear_of_rights(self, message: Message) -> None:
        if self.user is None or message["stream"] != self.rights:
            return
        self.rights_offset = max(self.rights_offset, message["offset"])
        _, session = self.credentials
        payload = json.loads(message["frame"] or "{}").get("payload", {})
        if session is not None and payload.get("session") == session_mark(session):
            await self.close(CloseCode.NOT_AUTHENTICATED)
        else:
            rounds().doubt([self])

    async def obey(self, message: Message) -> None:
        """Called when somebody has looked at what the socket may keep."""
        ruling, self.ruling = self.ruling, KEEP
        if ruling.code is not None:
            await self.close(ruling.code)
        for subscription in filter(self._is_followed, ruling.lost):
            await self._end(subscription, "revoked")
        for subscription in filter(self._is_followed, ruling.gone):
            # Its deletion is on its way, and with it the end.
            subscription.gone_since = subscription.gone_since or self.clock.now
            waited = self.clock.now - subscription.gone_since
            if waited >= realtime_settings().POSITION_CHECK_SECONDS:
                await self._end(subscription, "deleted")

    def _is_followed(self, subscription: Subscription) -> bool:
        return self.subscriptions.get(subscription.stream) is subscription


def _trace(message: Message) -> None:
    """Say, to who wants to know, that a notification has come this far."""
    if logger.isEnabledFor(logging.DEBUG):
        event_id = json.loads(message["frame"])["event_id"]
        extra = {"action": "forwarded", "event_id": event_id, "stream": message["stream"]}
        logger.debug("Forwarded", extra={**extra, "offset": message["offset"]})


def note_away(error: Exception) -> None:
    """Put into the log that the database is away."""
    logger.warning("The database is away: %r", error, extra={"action": "database_away"})
