"""Channel layers that fail, hang or record messages. Tests choose them in the settings."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

from channels.layers import InMemoryChannelLayer
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.waiting import wait_until


class AwayLayer(InMemoryChannelLayer):
    """A layer that refuses every message, as if Redis didn't run."""

    async def group_send(self, group: str, message: dict[str, Any]) -> NoReturn:
        raise ConnectionRefusedError("Nobody listens.")


class CountingAwayLayer(AwayLayer):
    """A layer that refuses every batch, and records the sizes."""

    offered: list[int] = []

    async def group_send_many(self, messages: Sequence[tuple[str, dict[str, Any]]]) -> NoReturn:
        self.offered.append(len(messages))
        await super().group_send(*messages[0])


class RecoveringLayer(InMemoryChannelLayer):
    """A layer that refuses messages until the first probe, as if its outage ended then."""

    is_back = False

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.is_back |= message["type"] == "probe"
        if not self.is_back:
            raise ConnectionRefusedError("Nobody listens.")
        await super().group_send(group, message)


class HangingLayer(InMemoryChannelLayer):
    """A layer that never answers, as if the network were broken."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.Event().wait()


class ExtraMessageLayer(InMemoryChannelLayer):
    """A layer that sends another message before each one. It drops the right one unless ``is_true``."""

    is_true = True

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await super().group_send(group, {"type": "behind"})
        if self.is_true:
            await super().group_send(group, message)


class BrokenLayer(InMemoryChannelLayer):
    """A layer that fails to receive, as if its connection were lost."""

    async def receive(self, channel: str) -> NoReturn:
        raise ConnectionResetError("The connection is lost.")


class SwallowingLayer(InMemoryChannelLayer):
    """A layer that turns a cancellation into the error of a time limit, as redis-py may."""

    async def receive(self, channel: str) -> NoReturn:
        try:
            await asyncio.Event().wait()
        finally:
            raise RedisTimeoutError


class PartlyAwayLayer(InMemoryChannelLayer):
    """A layer that refuses the operations in ``refuses``, as if Redis were down during them."""

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
    """A layer that runs ``meanwhile`` before a channel joins a group."""

    meanwhile: Callable[[], Awaitable[None]]

    async def group_add(self, group: str, channel: str) -> None:
        await type(self).meanwhile()
        await super().group_add(group, channel)


class RecordingLayer(InMemoryChannelLayer):
    """A layer that records messages, in order."""

    sent: list[tuple[str, dict[str, Any]]] = []
    probes: list[str] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if message["type"] == "probe":
            self.probes.append(group)
        else:
            self.sent.append((group, message))


class DroppingLayer(InMemoryChannelLayer):
    """A layer that accepts every message and drops it."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Called for each message; drops it."""


class RefusingLayer(RecordingLayer):
    """A layer that refuses messages whose frame has the text "refused"."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if '"refused"' in message.get("frame", ""):
            await self.refuse()
        await super().group_send(group, message)

    async def refuse(self) -> None:
        raise ValueError("This layer refuses the message.")


class FrameInErrorLayer(RecordingLayer):
    """A layer that accepts only probes, and has the frame it refuses in its error."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if message["type"] != "probe":
            raise ValueError(f"It refuses {message['frame']}.")


class PartlyHangingLayer(RefusingLayer):
    """A layer that hangs on messages whose frame has the text "refused"."""

    async def refuse(self) -> None:
        await asyncio.Event().wait()


class SlowLayer(RecordingLayer):
    """A layer that takes 2 ms for each message, as over a long distance."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.002)
        await super().group_send(group, message)


class BlockingLayer(RecordingLayer):
    """A layer that blocks its whole thread until a condition holds, as if the process were stopped."""

    until: Callable[[], Any] = bool

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        wait_until(type(self).until, "the layer may go on")
