"""
The channel layer: the Redis pub/sub layer of channels-redis, with three differences.

Joining is local and never fails: a socket can open and subscribe while Redis is away, and receives
messages once Redis is back. Queues are bounded. After an overflow or an outage, our own channels
receive a message that others were lost; channels of other consumers don't, as in any channel layer. A batch
is sent in one write.
"""

import asyncio
import uuid
from collections.abc import Iterable
from typing import Any

from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer
from channels_redis.utils import _consistent_hash, _wrap_close, decode_hosts

from ..conf import pillarbox_settings
from ..logs import get_logger
from ..metrics.sockets import gauges
from .link import Link
from .queue import Queue

logger = get_logger(__name__)

#: The prefix of our own channels, for `new_channel`.
OWN = "pillarbox."
#: The message that replaces messages that one of our own channels missed. The socket then reads the database.
BEHIND = {"type": "behind"}


class NotificationChannelLayer(RedisPubSubChannelLayer):
    """The channel layer. Options: the parent's, and a queue's ``capacity`` and ``capacity_bytes``."""

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
        """Return True if a Redis host that this process listens to is away; None if it listens to none."""
        known = [away for layer in list(self._layers.values()) for away in layer.links_away()]
        return any(known) if known else None


def notification_layer() -> Any:
    """Return the channel layer that ``CHANNEL_LAYER`` names; None if the project has none."""
    return get_channel_layer(pillarbox_settings().CHANNEL_LAYER)


def layer_health() -> str | None:
    """Return the channel layer's health, ``live`` or ``away``; None if this process doesn't know it."""
    is_away = getattr(notification_layer(), "is_away", None)
    return None if is_away is None else ("away" if is_away else "live")


gauges.functions["notifier_channel_layer_up"] = lambda: layer_health() != "away"


class NotificationLoopLayer(RedisPubSubLoopLayer):
    """The channel layer within one event loop."""

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
        """Create a channel, and return its name."""
        channel = f"{self.prefix}{prefix}{uuid.uuid4().hex}"
        await self._open(channel)
        return channel

    async def receive(self, channel: str) -> dict[str, Any]:
        """
        Return the next message of a channel. If cancelled, removes the channel from all groups.

        A channel that `new_channel` has not made is created by the first call, as ``runworker`` needs it.
        """
        if channel not in self.channels:
            await self._open(channel)
        try:
            return await self.channels[channel].get()  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            self._forget(channel)
            raise

    async def end_channel(self, channel: str) -> None:
        """Remove a channel: its queue, and its membership of every group."""
        self._forget(channel)

    async def group_add(self, group: str, channel: str) -> None:
        """Join a group. A message published after the return arrives, or is replaced by ``behind``."""
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
        """Return, for each Redis host that the layer listens to, whether it is away."""
        return [link.is_away for link in self._shards if link.is_away is not None]

    async def flush(self) -> None:
        """Remove every channel and group, and close the connections."""
        self._joined = {}
        await super().flush()

    def _link(self, name: str) -> Link:
        link: Link = self._shards[_consistent_hash(name, len(self._shards))]
        return link

    async def _open(self, channel: str) -> None:
        lost = BEHIND if channel.startswith(f"{self.prefix}{OWN}") else None
        self.channels[channel] = Queue(self.capacity, self.capacity_bytes, lost)
        self._joined[channel] = set()
        try:
            await self._link(channel).join(channel)
        except asyncio.CancelledError:
            self._forget(channel)
            raise

    def _forget(self, channel: str) -> None:
        for name in self._joined.pop(channel, set()):
            self._leave(name, channel)
        self.channels.pop(channel, None)
        self._link(channel).stop_listening(channel)

    def _leave(self, name: str, channel: str) -> None:
        members = self.groups.get(name, set())
        members.discard(channel)
        self._joined.get(channel, set()).discard(name)
        if name in self.groups and not members:
            del self.groups[name]
            self._link(name).stop_listening(name)

    def _deliver(self, name: str, data: bytes) -> None:
        """Called for each arriving message. Decodes it once, and queues it for each receiving channel."""
        try:
            message = self.channel_layer.deserialize(data)
        except Exception:  # another program wrote it, so any error is possible
            logger.exception(
                "A message of the channel layer is unreadable",
                extra={"action": "unreadable_message"},
            )
            self._missed([name])
        else:
            for channel in self._members(name):
                self.channels[channel].put(message, len(data))

    def _missed(self, names: Iterable[str]) -> None:
        """Called with names whose messages may have been missed. Queues ``behind`` for our own channels."""
        for channel in {channel for name in names for channel in self._members(name)}:
            self.channels[channel].put_lost()

    def _members(self, name: str) -> set[str]:
        """Return the channels that receive messages for a name, which is a group's or a channel's own."""
        members: set[str] = self.groups.get(name, {name})
        return {member for member in members if member in self.channels}
