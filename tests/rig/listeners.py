"""Clients of a run, which record what they receive."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from pillarbox.client.client import Client, RefusedError
from pillarbox.client.cursor import Notification
from pillarbox.client.subscription import Subscription

from .history import Followed, Observed, Received, Record, content_of

#: How long a guest waits after a subscription was refused or ended, in seconds.
VISIT_SECONDS = 0.3


class Listener(ABC):
    """A client that records its subscriptions and deliveries in the history, which all clients share."""

    def __init__(self, about: Mapping[str, Any], port: int, history: list[Record]) -> None:
        self.name, self.token, self.is_allowed = about["name"], about["token"], about["is_allowed"]
        self.is_guest = about.get("is_guest", False)
        #: What it subscribes to: object type, public id and stream of each subject.
        self.subjects = about["subjects"]
        self.url = f"ws://127.0.0.1:{port}/ws/notifications/"
        self.history = history
        #: The streams it follows, and the contents shown in each.
        self.streams: set[str] = set()
        self.shown: dict[str, set[str]] = defaultdict(set)
        #: Set once each of its subscribe requests has been answered.
        self.is_ready = asyncio.Event()

    @abstractmethod
    async def run(self) -> None:
        """Follow until cancelled."""

    @property
    @abstractmethod
    def characters(self) -> int:
        """The number of characters received from the server."""

    def observed(self) -> Iterator[Observed]:
        """Yield the errors that the client detected. Called at the end of a run."""
        yield from ()

    def record_error(self, error: str, what: str) -> None:
        """Record an error as one of the checker's kinds."""
        self.history.append(Observed(client=self.name, error=error, what=what))

    def record_subscription(self, stream: str) -> None:
        """Record that the subscribe request for a stream was answered."""
        self.streams.add(stream)
        self.history.append(
            Followed(
                client=self.name,
                stream=stream,
                at=time.time(),
                is_allowed=self.is_allowed,
                is_guest=self.is_guest,
            )
        )
        if len(self.streams) == len(self.subjects):
            self.is_ready.set()

    def record_delivery(self, stream: str, content: str) -> None:
        """Record a delivery."""
        self.shown[stream].add(content)
        self.history.append(
            Received(client=self.name, stream=stream, content=content, at=time.time())
        )


class OurListener(Listener):
    """A listener that uses the project's own `Client`."""

    def __init__(self, about: Mapping[str, Any], port: int, history: list[Record]) -> None:
        super().__init__(about, port, history)
        self.subscriptions: list[Subscription] = []
        #: How often it was refused as a guest.
        self.refused = 0

    async def run(self) -> None:
        """Follow until cancelled. Raises an error if the server wrongly refuses or ends a subscription."""
        self.client = Client(self.url, headers={"Authorization": f"Token {self.token}"})
        async with self.client, asyncio.TaskGroup() as group:
            for object_type, public_id, stream in self.subjects:
                if self.is_guest:
                    group.create_task(self._visit(object_type, public_id, stream))
                    continue
                try:
                    subscription = await self.client.subscribe(object_type, public_id)
                except RefusedError as refusal:
                    if self.is_allowed or refusal.code != "not_found":
                        raise
                else:
                    if not self.is_allowed:
                        self.record_error("foreign", f"may not see {stream}, but could subscribe")
                    self.subscriptions.append(subscription)
                    group.create_task(self._listen(stream, subscription))
                self.record_subscription(stream)

    async def _visit(self, object_type: str, public_id: str, stream: str) -> None:
        """Subscribe again whenever refused or unsubscribed. Doesn't ask for missed notifications."""
        self.record_subscription(stream)
        while True:
            try:
                subscription = await self.client.subscribe(object_type, public_id)
                async for item in subscription:
                    if isinstance(item, Notification):
                        self.record_delivery(stream, content_of(item.payload))
            except RefusedError:
                self.refused += 1
            await asyncio.sleep(VISIT_SECONDS)

    @property
    def characters(self) -> int:
        """The number of characters received from the server."""
        return self.client.received

    def observed(self) -> Iterator[Observed]:
        """Yield the repetitions that `Client` dropped, and the frames for which it ended a socket."""
        found = {
            "was sent a notification twice": sum(s.cursor.repeats for s in self.subscriptions),
            "was sent a frame that breaks the protocol": self.client.breaches,
        }
        for what, times in found.items():
            if times:
                yield Observed(client=self.name, error="repeated", what=what, times=times)

    async def _listen(self, stream: str, subscription: Subscription) -> None:
        async for item in subscription:
            if isinstance(item, Notification):
                self.record_delivery(stream, content_of(item.payload))
        raise RuntimeError(f"The server ended the subscription to {stream}.")
