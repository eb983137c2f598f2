"""
The channel layer: Redis pub/sub, as channels-redis has it, with three differences.

Joining is local and never fails: a socket may open and subscribe while Redis is away, and is live
when it comes back. Queues are bounded, and an overflow is not silent. A batch goes in one write.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterable
from typing import Any

from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer
from channels_redis.utils import _consistent_hash, _wrap_close, decode_hosts

from .link import Link

logger = logging.getLogger(__name__)

#: What a channel gets instead of the messages it missed: read the database.
BEHIND = {"type": "behind"}


class NotificationChannelLayer(RedisPubSubChannelLayer):
    """Takes the parent's options, and how much may wait for one socket: messages, and their bytes."""

    def _get_layer(self) -> "NotificationLoopLayer":
        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            self._layers[loop] = NotificationLoopLayer(
                *self._args, **self._kwargs, channel_layer=self
            )
            _wrap_close(self, loop)
        return self._layers[loop]  # type: ignore[no-any-return]

    @property
    def is_away(self) -> bool | None:
        """Whether a Redis is away, as far as those know who listen to it; None if nobody does."""
        known = [away for layer in list(self._layers.values()) for away in layer.links_away()]
        return any(known) if known else None


def standing() -> str | None:
    """Return ``live`` or ``away``, which the channel layer is; None if this process can't tell."""
    is_away = getattr(get_channel_layer(), "is_away", None)
    return None if is_away is None else ("away" if is_away else "live")


class NotificationLoopLayer(RedisPubSubLoopLayer):
    """The layer in one event loop."""

    def __init__(
        self,
        hosts: Any = None,
        *,
        capacity: int = 1000,
        capacity_bytes: int = 2**22,
        **kwargs: Any,
    ) -> None:
        super().__init__(hosts, **kwargs)
        self.capacity, self.capacity_bytes = capacity, capacity_bytes
        self._joined: dict[str, set[str]] = {}
        self._shards: list[Link] = [
            Link(host, self._deliver, self._missed) for host in decode_hosts(hosts)
        ]

    async def new_channel(self, prefix: str = "specific.") -> str:
        """Return the name of a new channel of this process."""
        channel = f"{self.prefix}{prefix}{uuid.uuid4().hex}"
        self.channels[channel] = Queue(self.capacity, self.capacity_bytes)
        self._joined[channel] = set()
        await self._link(channel).join(channel)
        return channel

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the next message of a channel. Cancelling it ends the channel, its groups included."""
        try:
            return await self.channels[channel].get()  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            self._forget(channel)
            raise

    async def end_channel(self, channel: str) -> None:
        """Forget a channel: its queue, and its place in every group."""
        self._forget(channel)

    async def group_add(self, group: str, channel: str) -> None:
        """Join a group. What is published after it returns arrives, or is announced as missed."""
        name = self._get_group_channel_name(group)
        self.groups.setdefault(name, set()).add(channel)
        self._joined[channel].add(name)
        await self._link(name).join(name)

    async def group_discard(self, group: str, channel: str) -> None:
        """Leave a group."""
        self._leave(self._get_group_channel_name(group), channel)

    async def group_send_many(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Send a batch of (group, message), in order, in one write for each Redis host."""
        batches: dict[Link, list[tuple[str, bytes]]] = {}
        for group, message in messages:
            name = self._get_group_channel_name(group)
            batch = batches.setdefault(self._link(name), [])
            batch.append((name, self.channel_layer.serialize(message)))
        for link, batch in batches.items():
            await link.publish_many(batch)

    def links_away(self) -> list[bool]:
        """Return of each Redis that is listened to whether it is away."""
        return [link.is_away for link in self._shards if link.is_away is not None]

    async def flush(self) -> None:
        """Forget every channel and group, and close the connections."""
        self._joined = {}
        await super().flush()

    def _link(self, name: str) -> Link:
        link: Link = self._shards[_consistent_hash(name, len(self._shards))]
        return link

    def _forget(self, channel: str) -> None:
        for name in self._joined.pop(channel, set()):
            self._leave(name, channel)
        self.channels.pop(channel, None)
        self._link(channel).unwant(channel)

    def _leave(self, name: str, channel: str) -> None:
        members = self.groups.get(name, set())
        members.discard(channel)
        self._joined.get(channel, set()).discard(name)
        if name in self.groups and not members:
            del self.groups[name]
            self._link(name).unwant(name)

    def _deliver(self, name: str, data: bytes) -> None:
        """Called for each message that arrives: decoded once, queued for everyone it is for."""
        try:
            message = self.channel_layer.deserialize(data)
        except Exception:  # whatever it is, somebody else sent it
            logger.exception("Unreadable message", extra={"action": "unreadable_message"})
            message = BEHIND
        for channel in self._members(name):
            self.channels[channel].put(message, len(data))

    def _missed(self, names: Iterable[str]) -> None:
        """Called when messages for these names may have been missed."""
        for channel in {channel for name in names for channel in self._members(name)}:
            self.channels[channel].put(BEHIND, 0)

    def _members(self, name: str) -> set[str]:
        """Return the channels that a name, a group's or a channel's own, stands for."""
        members: set[str] = self.groups.get(name, {name})
        return {member for member in members if member in self.channels}


class Queue:
    """What waits for one socket. An overflow is replaced by one word: what waited is in the database, too."""

    def __init__(self, messages: int, size: int) -> None:
        self._messages, self._size = messages, size
        self._queue: asyncio.Queue[tuple[dict[str, Any], int]] = asyncio.Queue()
        self._bytes = 0

    def __len__(self) -> int:
        return self._queue.qsize()

    def put(self, message: dict[str, Any], size: int) -> None:
        """Have a message of ``size`` bytes wait."""
        if len(self) >= self._messages or self._bytes + size > self._size:
            while len(self):
                self._queue.get_nowait()
            message, size, self._bytes = BEHIND, 0, 0
        self._queue.put_nowait((message, size))
        self._bytes += size

    async def get(self) -> dict[str, Any]:
        """Return what waits longest."""
        message, size = await self._queue.get()
        self._bytes -= size
        return message
