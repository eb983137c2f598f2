"""Clients that keep what they are shown: with ours, and as a page would do it with the plain pattern."""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import websockets

from apps.realtime.client import Client, RefusedError
from apps.realtime.following import Subscription
from apps.realtime.reconnecting import OPEN_SECONDS, WINDOW, pause
from apps.realtime.standing import Notification

from .history import Followed, Observed, Received, Record


class Listener(ABC):
    """One client. What it notes goes into the history, which all share."""

    def __init__(self, about: Mapping[str, Any], port: int, history: list[Record]) -> None:
        self.name, self.token, self.is_allowed = about["name"], about["token"], about["is_allowed"]
        self.subjects = about["subjects"]
        self.url = f"ws://127.0.0.1:{port}/ws/notifications/"
        self.history = history
        #: What it follows, and what it was shown of each.
        self.streams: set[str] = set()
        self.heard: dict[str, set[str]] = defaultdict(set)
        #: Whether it has had an answer to all that it asked for.
        self.is_ready = asyncio.Event()

    @abstractmethod
    async def run(self) -> None:
        """Follow, for ever."""

    @property
    @abstractmethod
    def received(self) -> int:
        """How many characters came."""

    def observed(self) -> Iterator[Observed]:
        """Yield what its client found wrong, in the end."""
        yield from ()

    def observe(self, error: str, what: str) -> None:
        """Note what is wrong, as one of the checker's errors."""
        self.history.append(Observed(client=self.name, error=error, what=what))

    def follow(self, stream: str) -> None:
        """Note that a stream is followed from now on, or asked for in vain."""
        self.streams.add(stream)
        self.history.append(
            Followed(client=self.name, stream=stream, at=time.time(), is_allowed=self.is_allowed)
        )
        if len(self.streams) == len(self.subjects):
            self.is_ready.set()

    def hear(self, stream: str, content: str) -> None:
        """Note what it is shown."""
        self.heard[stream].add(content)
        self.history.append(
            Received(client=self.name, stream=stream, content=content, at=time.time())
        )


class OurListener(Listener):
    """Follows with `Client`."""

    def __init__(self, about: Mapping[str, Any], port: int, history: list[Record]) -> None:
        super().__init__(about, port, history)
        self.subscriptions: list[Subscription] = []

    async def run(self) -> None:
        """Follow, for ever. Raises an error where the server ends what it should not."""
        self.client = Client(self.url, headers={"Authorization": f"Token {self.token}"})
        async with self.client, asyncio.TaskGroup() as group:
            for object_type, public_id in self.subjects:
                stream = f"{object_type} {public_id}"
                try:
                    subscription = await self.client.subscribe(object_type, public_id)
                except RefusedError as refusal:
                    if self.is_allowed or refusal.code != "not_found":
                        raise
                else:
                    if not self.is_allowed:
                        self.observe("foreign", f"was let in to {stream}")
                    self.subscriptions.append(subscription)
                    group.create_task(self._listen(stream, subscription))
                self.follow(stream)

    @property
    def received(self) -> int:
        """How many characters came."""
        return self.client.received

    def observed(self) -> Iterator[Observed]:
        """Yield what was sent twice, and so not shown; and the sockets that its client ended for a gap."""
        found = {
            "was sent a notification twice": sum(s.standing.repeats for s in self.subscriptions),
            "was sent what the protocol doesn't have": self.client.breaches,
        }
        for what, times in found.items():
            if times:
                yield Observed(client=self.name, error="repeated", what=what, times=times)

    async def _listen(self, stream: str, subscription: Subscription) -> None:
        async for word in subscription:
            if isinstance(word, Notification):
                self.hear(stream, word.payload["title"])
        raise RuntimeError(f"{stream} may not be followed any more.")


class PlainListener(Listener):
    """Joins on each new socket what it wants, and comes back as ours does."""

    received = 0

    async def run(self) -> None:
        """Follow, for ever."""
        losses = 0
        while True:
            losses += 1
            with suppress(OSError, websockets.WebSocketException):
                async with websockets.connect(
                    self.url,
                    additional_headers={"Origin": "http://127.0.0.1"},
                    compression=None,
                    open_timeout=OPEN_SECONDS,
                    close_timeout=1,
                ) as socket:
                    for object_type, public_id in self.subjects:
                        await socket.send(json.dumps({"object_type": object_type, "id": public_id}))
                    async for text in socket:
                        losses = 1
                        self._hear(text)
            await asyncio.sleep(pause(losses, WINDOW, None))

    def _hear(self, text: str | bytes) -> None:
        self.received += len(text)
        frame = json.loads(text)
        object_type, _, public_id = frame["group"].rpartition(".")
        stream = f"{object_type} {public_id}"
        if frame["type"] != "subscribed":
            self.hear(stream, frame["payload"]["title"])
        elif not self.is_ready.is_set():
            self.follow(stream)
