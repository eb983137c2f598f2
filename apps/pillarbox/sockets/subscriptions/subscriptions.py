"""The subscriptions of one socket."""

import asyncio
from collections.abc import Iterable

from .. import frames
from ..channel import Channel
from ..commands.parsing import Ref
from ..connection import Connection
from ..reasons import EndReason
from .subscription import Subscription


class Subscriptions(dict[str, Subscription]):
    """A socket's subscriptions, by stream. It joins and leaves their groups, and announces their ends."""

    def __init__(self, connection: Connection, channel: Channel) -> None:
        super().__init__()
        self._connection, self._channel = connection, channel
        #: Subscriptions that the client has requested, and that have neither started nor been refused yet.
        self.requested: list[Subscription] = []

    @property
    def with_requested(self) -> list[Subscription]:
        """Return the subscriptions that an end of a right may affect: all, requested ones included."""
        return [*self.values(), *self.requested]

    def has(self, subscription: Subscription) -> bool:
        """Return whether a subscription goes on: another one of its stream may have taken its place."""
        return self.get(subscription.stream) is subscription

    async def join(self, subscriptions: Iterable[Subscription]) -> bool:
        """Join the groups of subscriptions. Returns False if the channel layer failed for any of them."""
        return all(
            await asyncio.gather(*(self._channel.join(each.group) for each in subscriptions))
        )

    async def leave(self, subscription: Subscription) -> None:
        """Remove a subscription, and leave its group."""
        self.pop(subscription.stream, None)
        await self._channel.leave(subscription.group)

    async def leave_all(self) -> None:
        """Remove all subscriptions, and leave their groups."""
        for subscription in list(self.values()):
            await self.leave(subscription)

    async def end(self, subscription: Subscription, reason: EndReason, ref: Ref = None) -> None:
        """End a subscription, and tell the client why. ``ref`` names the command that requested it."""
        await self.leave(subscription)
        await self._connection.send_frame(frames.unsubscribed(subscription.subject, reason, ref))
