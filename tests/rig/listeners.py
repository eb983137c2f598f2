"""Clients that keep what they are shown."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from apps.realtime.client import Client, RefusedError
from apps.realtime.following import Subscription
from apps.realtime.standing import Notification

from .history import Followed, Observed, Received, Record


class Listener(ABC):
    """One client. It notes what happens to it in the history, which all clients share."""

    def __init__(self, about: Mapping[str, Any], port: int, history: list[Record]) -> None:
        self.name, self.token, self.is_allowed = about["name"], about["token"], about["is_allowed"]
        #: Object types and public ids as the client sends them, with their streams.
        self.subjects = about["subjects"]
        self.url = f"ws://127.0.0.1:{port}/ws/notifications/"
        self.history = history
        #: The streams it follows, and the contents it was shown of each.
        self.streams: set[str] = set()
        self.shown: dict[str, set[str]] = defaultdict(set)
        #: Whether it has had an answer to all that it asked for.
        self.is_ready = asyncio.Event()

    @abstractmethod
    async def run(self) -> None:
        """Follow, for ever."""

    @property
    @abstractmethod
    def characters(self) -> int:
        """How many characters the server has sent it."""

    def observed(self) -> Iterator[Observed]:
        """Yield the errors that its client found, in the end."""
        yield from ()

    def observe(self, error: str, what: str) -> None:
        """Note one of the checker's errors."""
        self.history.append(Observed(client=self.name, error=error, what=what))

    def follow(self, stream: str) -> None:
        """Note that a stream is followed from now on, or asked for in vain."""
        self.streams.add(stream)
        self.history.append(
            Followed(client=self.name, stream=stream, at=time.time(), is_allowed=self.is_allowed)
        )
        if len(self.streams) == len(self.subjects):
            self.is_ready.set()

    def show(self, stream: str, content: str) -> None:
        """Note that it is shown a content."""
        self.shown[stream].add(content)
        self.history.append(
            Received(client=self.name, stream=stream, content=content, at=time.time())
        )


class OurListener(Listener):
    """Follows with `Client`."""

    def __init__(self, about: Mapping[str, Any], port: int, history: list[Record]) -> None:
        super().__init__(about, port, history)
        self.subscriptions: list[Subscription] = []

    async def run(self) -> None:
        """Follow, for ever. Raises an error where the server ends a subscription that it should not."""
        self.client = Client(self.url, headers={"Authorization": f"Token {self.token}"})
        async with self.client, asyncio.TaskGroup() as group:
            for object_type, public_id, stream in self.subjects:
                try:
                    subscription = await self.client.subscribe(object_type, public_id)
                except RefusedError as refusal:
                    if self.is_allowed or refusal.code != "not_found":
                        raise
                else:
                    if not self.is_allowed:
                        self.observe("foreign", f"may not see {stream}, but could subscribe")
                    self.subscriptions.append(subscription)
                    group.create_task(self._listen(stream, subscription))
                self.follow(stream)

    @property
    def characters(self) -> int:
        """How many characters the server has sent it."""
        return self.client.received

    def observed(self) -> Iterator[Observed]:
        """Yield what was sent twice, and so not shown; and the sockets that its client ended for a gap."""
        found = {
            "was sent a notification twice": sum(s.standing.repeats for s in self.subscriptions),
            "was sent a frame that breaks the protocol": self.client.breaches,
        }
        for what, times in found.items():
            if times:
                yield Observed(client=self.name, error="repeated", what=what, times=times)

    async def _listen(self, stream: str, subscription: Subscription) -> None:
        async for item in subscription:
            if isinstance(item, Notification):
                self.show(stream, item.payload["title"])
        raise RuntimeError(f"{stream} may not be followed any more.")
