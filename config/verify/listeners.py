"""Clients that keep what they are shown: with ours, and as a page would do it with the plain pattern."""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import websockets

from apps.realtime.client import Client, RefusedError
from apps.realtime.reconnecting import WINDOW, pause
from apps.realtime.standing import Notification, Resynced

from .history import Followed, Received, Record

#: How long a refusal may take.
OPEN_SECONDS = 10.0


class Listener(ABC):
    """One client, from `run` on. What it notes goes into the history, which all share."""

    def __init__(self, about: Mapping[str, Any], port: int, history: list[Record]) -> None:
        self.name, self.token, self.is_allowed = about["name"], about["token"], about["is_allowed"]
        self.subjects = [tuple(subject) for subject in about["subjects"]]
        self.url = f"ws://127.0.0.1:{port}/ws/notifications/"
        self.history = history
        #: What it follows, and what it heard of each.
        self.streams: set[str] = set()
        self.heard: dict[str, set[str]] = defaultdict(set)
        self.is_ready = asyncio.Event()
        #: Characters that came; frames that its client refused; told losses.
        self.received = self.breaches = self.resyncs = 0

    @abstractmethod
    async def run(self) -> None:
        """Follow, for ever."""

    def follow(self, stream: str) -> None:
        """Note that a stream is followed from now on."""
        self.streams.add(stream)
        self.history.append(
            Followed(client=self.name, stream=stream, at=time.time(), is_allowed=self.is_allowed)
        )

    def hear(self, stream: str, content: str) -> None:
        """Note what it is shown."""
        self.heard[stream].add(content)
        self.history.append(
            Received(client=self.name, stream=stream, content=content, at=time.time())
        )


class OurListener(Listener):
    """Follows with `Client`."""

    async def run(self) -> None:
        """Follow, for ever."""
        headers = {"Authorization": f"Token {self.token}"}
        async with Client(self.url, headers=headers) as client, asyncio.TaskGroup() as group:
            self.client = client
            for subject in self.subjects:
                stream = " ".join(subject)
                try:
                    subscription = await client.subscribe(*subject)
                except RefusedError:
                    if self.is_allowed:
                        raise
                else:
                    group.create_task(self._listen(stream, subscription))
                self.follow(stream)
            self.is_ready.set()
            group.create_task(self._count())

    async def _listen(self, stream: str, subscription: Any) -> None:
        async for word in subscription:
            if isinstance(word, Notification):
                self.hear(stream, word.payload["title"])
            elif isinstance(word, Resynced):
                self.resyncs += 1
        raise RuntimeError(f"{self.name} may follow {stream} no more.")

    async def _count(self) -> None:
        while True:
            self.received, self.breaches = self.client.received, self.client.breaches
            await asyncio.sleep(0.2)


class PlainListener(Listener):
    """Joins on each new socket what it wants, and comes back as ours does."""

    async def run(self) -> None:
        """Follow, for ever."""
        losses = 0
        while True:
            with suppress(OSError, websockets.WebSocketException):
                async with websockets.connect(
                    self.url,
                    additional_headers={"Origin": "http://127.0.0.1"},
                    compression=None,
                    open_timeout=OPEN_SECONDS,
                    close_timeout=1,
                    max_size=None,
                ) as socket:
                    for object_type, id in self.subjects:  # noqa: A001  # the protocol's word
                        await socket.send(json.dumps({"object_type": object_type, "id": id}))
                    async for text in socket:
                        losses = 0
                        self._hear(text)
            losses += 1
            await asyncio.sleep(pause(losses, WINDOW, None))

    def _hear(self, text: str | bytes) -> None:
        self.received += len(text)
        frame = json.loads(text)
        stream = " ".join(frame["group"].rpartition(".")[::2])
        if frame["type"] != "subscribed":
            self.hear(stream, frame["payload"]["title"])
        elif not self.is_ready.is_set():
            self.follow(stream)
            if len(self.streams) == len(self.subjects):
                self.is_ready.set()
