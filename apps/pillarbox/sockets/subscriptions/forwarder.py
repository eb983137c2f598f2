"""Forwarding to a socket: each offset of a subscription once and in order, or a frame that says otherwise."""

import json
import logging
from dataclasses import dataclass
from functools import partial

from ...database import AWAY_OR_SLOW
from ...logs import get_logger
from ...metrics.sockets import DELAY, DUPLICATES, GAP, RESYNCED, gauges
from .. import frames
from ..access.access import Access
from ..access.checks import KEEP
from ..access.reads import Reads
from ..connection import Connection, Message
from ..database import log_away, shared
from ..reasons import EndReason, ResyncReason
from ..turns import Turns
from .catch_up import Page, read_page
from .snapshots import Snapshots
from .starts import read_present
from .subscription import Action, Subscription
from .subscriptions import Subscriptions

logger = get_logger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class Forwarder:
    """The part of a socket that sends the notifications of its subscriptions, live and from the history."""

    connection: Connection
    subscriptions: Subscriptions
    access: Access
    reads: Reads
    snapshots: Snapshots
    turns: Turns

    async def receive(self, message: Message) -> None:
        """Called for each envelope of a group: forward the next, drop a duplicate, catch up after a gap."""
        stream, stamp = message["stream"], message["stamp"]
        # Most sockets have nothing to wait for, and awaiting a coroutine would be much of the work.
        if not (self.access.is_checked_up_to(stamp) or await self.access.may_send(stamp)):
            return
        subscription = self.subscriptions.get(stream)
        if subscription is None:
            return
        is_hidden = not message["ends"] and subscription.hides(
            stamp, message["transaction"], message["at"]
        )
        is_complete = bool(message["frame"]) and not (message["is_move"] or is_hidden)
        action = subscription.action_for(
            message["epoch"], message["offset"], is_complete=is_complete
        )
        if action is Action.FORWARD:
            await self._forward(subscription, message["offset"], message["frame"], message["ends"])
            # All sockets of the process share the message: the first one that forwards it measures its delay.
            if message.pop("is_new", False):
                DELAY.observe_rows([message["at"]])
                _trace(message)
        elif action is Action.CATCH_UP:
            GAP.inc()
            self.turns.schedule(self.catch_up, stream)
        else:
            DUPLICATES.inc()

    async def _forward(
        self, subscription: Subscription, offset: int, frame: str, ends: bool
    ) -> None:
        await self.connection.send({"type": "websocket.send", "text": frame})
        subscription.offset = offset
        gauges.deliveries += 1
        if ends:
            await self.subscriptions.end(subscription, EndReason.DELETED)

    # The history

    async def catch_up(self, stream: str) -> None:
        """Send a page of a stream's history after the subscription's offset, if there is more."""
        subscription = self.subscriptions.get(stream)
        if subscription is None:
            return
        try:
            page = await self.read_page(subscription)
            await self.send_page(subscription, page)
        except AWAY_OR_SLOW as error:
            # The next notification is a gap again, and the next position check finds one.
            log_away(error)

    async def read_page(self, subscription: Subscription) -> Page:
        """Return the next page of the history. Reads of a resume count against the user's read limit."""
        reading = partial(shared, read_page, subscription.stream, subscription.offset)
        if subscription.offset >= subscription.resumed_to:
            return await reading()
        async with self.reads.limit:
            return await reading()

    async def send_page(self, subscription: Subscription, page: Page) -> None:
        """Send a page of the history, and schedule the next one if there is more."""
        if not await self.access.may_send(page.stamp) or not self.subscriptions.has(subscription):
            return
        entries, lost = page.after(subscription)
        for entry in entries:
            await self._forward(subscription, entry.offset, entry.frame, entry.ends)
            if not self.subscriptions.has(subscription):
                return
            # A decision is applied before the rest of the page, however slowly the client reads.
            if self.access.decision is not KEEP:
                lost = None
                break
        if lost:
            await self._resync(subscription, lost)
        elif not page.waits and subscription.offset < page.head.offset:
            self.turns.schedule(self.catch_up, subscription.stream)

    async def _resync(self, subscription: Subscription, reason: ResyncReason) -> None:
        """Tell the client that continuity is lost, and send the present state."""
        if reason is ResyncReason.EPOCH:  # offsets of ends of rights may have a new meaning, too
            await self.reads.ends_reader.read()
        start = await self.reads.read(read_present, subscription)
        if not self.subscriptions.has(subscription):  # an access check ended it meanwhile
            return
        if start is None:
            is_gone = subscription.gone_since is not None
            reason_of_end = EndReason.DELETED if is_gone else EndReason.REVOKED
            await self.subscriptions.end(subscription, reason_of_end)
            return
        subscription.move_to(start.position)
        RESYNCED[reason].inc()
        await self.connection.send_frame(frames.resynced(subscription, start.payload, reason))
        self.snapshots.begin(subscription, {})


def _trace(message: Message) -> None:
    """Log at level DEBUG that a notification was forwarded, to trace its ``event_id``."""
    if logger.isEnabledFor(logging.DEBUG):
        event_id = json.loads(message["frame"])["event_id"]
        extra = {"action": "forwarded", "event_id": event_id, "stream": message["stream"]}
        logger.debug("Forwarded", extra={**extra, "offset": message["offset"]})
