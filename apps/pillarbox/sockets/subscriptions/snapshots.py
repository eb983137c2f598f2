"""Snapshots of collections: their objects in their present state, page by page."""

from dataclasses import dataclass
from typing import Any

from ...close_codes import CloseCode
from ...conf import pillarbox_settings
from ...database import AWAY_OR_SLOW
from ...types.payload import encode, plain
from ...types.registry import type_of_collection
from .. import frames
from ..access.reads import Reads
from ..connection import Connection
from ..database import log_away
from ..turns import Turns
from .subscription import Subscription
from .subscriptions import Subscriptions


@dataclass(kw_only=True, slots=True, eq=False)
class Snapshots:
    """The snapshots that a socket sends of the collections that it subscribes to."""

    connection: Connection
    subscriptions: Subscriptions
    reads: Reads
    turns: Turns

    def begin(self, subscription: Subscription, answered: frames.Frame) -> None:
        """Have a snapshot sent if the subscription is to a collection; otherwise do nothing."""
        if type_of_collection(subscription.object_type) is not None:
            subscription.next_page = (answered, None)
            self.turns.schedule(self.send_page, subscription.stream)

    async def send_page(self, stream: str) -> None:
        """
        Send the next page of a collection. Close the socket if it can't be read.

        Each page takes a turn, so that a change committed after it was read, such as a deletion, is sent
        after it.
        """
        subscription = self.subscriptions.get(stream)
        if subscription is None or subscription.next_page is None:
            return
        answered, after = subscription.next_page
        try:
            items, after = await self.reads.read(read_items, subscription, after)
        except AWAY_OR_SLOW as error:
            log_away(error)
            # The client would take half a snapshot for a whole one.
            await self.connection.close(CloseCode.INTERNAL_ERROR)
            return
        if not self.subscriptions.has(subscription):
            return
        subscription.next_page = None if after is None else (answered, after)
        if after is not None:
            self.turns.schedule(self.send_page, stream)
        frame = frames.snapshot(answered, subscription, items, is_last=after is None)
        await self.connection.send_frame(frame)


def read_items(user: Any, subscription: Subscription, after: Any) -> tuple[list[Any], Any]:
    """
    Return a page of a collection's objects, by primary key, and the key after which the next page begins.

    ``after`` is None for the first page; the returned key is None after the last one. A page has at most
    ``SNAPSHOT_ROWS`` objects and ``FRAME_BYTES``, but always one object.
    """
    collection = type_of_collection(subscription.object_type)
    assert collection is not None
    kind, key = collection
    found = kind.readable_by(user).filter(**{key: subscription.pk}).order_by("pk")
    found = found if after is None else found.filter(pk__gt=after)
    limit = pillarbox_settings().SNAPSHOT_ROWS
    instances = list(found[: limit + 1])
    kind.read_shown(instances)
    items: list[Any] = []
    size = 0
    for instance in instances[:limit]:
        payload = plain(kind.payload(instance), kind.name)
        size += len(encode(payload, kind.name))
        if items and size > pillarbox_settings().FRAME_BYTES:
            break
        items.append(payload)
    is_last = len(items) == len(instances)
    return items, None if is_last else instances[len(items) - 1].pk
