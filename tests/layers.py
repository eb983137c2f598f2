"""Channel layers that misbehave: chosen in settings, never patched in."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

from channels.layers import InMemoryChannelLayer

from tests.waiting import wait_until


class AwayLayer(InMemoryChannelLayer):
    """Refuses everything, as Redis does when nobody listens at its address."""

    async def group_send(self, group: str, message: dict[str, Any]) -> NoReturn:
        raise ConnectionRefusedError("Nobody listens.")


class CountingAwayLayer(AwayLayer):
    """Counts what it refuses, batch by batch."""

    offered: list[int] = []

    async def group_send_many(self, messages: Sequence[tuple[str, dict[str, Any]]]) -> NoReturn:
        self.offered.append(len(messages))
        await super().group_send(*messages[0])


class HangingLayer(InMemoryChannelLayer):
    """Never answers, as a host does that is behind a broken link."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.Event().wait()


class ChattyLayer(InMemoryChannelLayer):
    """Says something else, and only now and then what it should."""

    is_true = True

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await super().group_send(group, {"type": "behind"})
        if self.is_true:
            await super().group_send(group, message)


class BrokenLayer(InMemoryChannelLayer):
    """Fails whoever listens, as a layer does whose connection is lost."""

    async def receive(self, channel: str) -> NoReturn:
        raise ConnectionResetError("The other end is gone.")


class UnjoinableLayer(InMemoryChannelLayer):
    """Does some things only, as one that asks Redis for each of them while that is away."""

    refuses: set[str] = set()

    async def new_channel(self, prefix: str = "specific.") -> str:
        self._ask("new_channel")
        return await super().new_channel(prefix)

    async def group_add(self, group: str, channel: str) -> None:
        self._ask("group_add")
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._ask("group_discard")
        await super().group_discard(group, channel)

    def _ask(self, act: str) -> None:
        if act in self.refuses:
            raise ConnectionRefusedError("Nobody listens.")


class SlowToJoinLayer(InMemoryChannelLayer):
    """Something happens while a channel joins a group, and before it is in it."""

    meanwhile: Callable[[], Awaitable[None]]

    async def group_add(self, group: str, channel: str) -> None:
        await type(self).meanwhile()
        await super().group_add(group, channel)


class RecordingLayer(InMemoryChannelLayer):
    """Keeps what is sent, in order."""

    sent: list[tuple[str, dict[str, Any]]] = []
    probes: list[str] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if message["type"] == "probe":
            self.probes.append(group)
        else:
            self.sent.append((group, message))


class SwallowingLayer(InMemoryChannelLayer):
    """Takes everything and keeps nothing."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Called for each message."""


class FastidiousLayer(RecordingLayer):
    """Refuses some messages, as a broker does that has rules of its own."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if '"refused"' in message.get("frame", ""):
            await self.refuse()
        await super().group_send(group, message)

    async def refuse(self) -> None:
        raise ValueError("It has a word in it that this layer won't carry.")


class TalkativeLayer(RecordingLayer):
    """Refuses everything but a question, and says what it was."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if message["type"] != "probe":
            raise ValueError(f"It refuses {message['frame']}.")


class StumblingLayer(FastidiousLayer):
    """Hangs on some messages."""

    async def refuse(self) -> None:
        await asyncio.Event().wait()


class SlowLayer(RecordingLayer):
    """Takes its time for each message, as over a long way."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.002)
        await super().group_send(group, message)


class FrozenLayer(RecordingLayer):
    """Holds up its whole thread, as a process does that is stopped, until a condition holds."""

    until: Callable[[], Any] = bool

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        wait_until(type(self).until, "the layer may go on")
