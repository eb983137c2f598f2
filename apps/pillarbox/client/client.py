"""The Python client of ``ws/notifications/``, for services and tests. It reconnects and resumes."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .cursor import Cursor, Position, Unsubscribed
from .reconnection import ClosedError, ReconnectingClient, Token, pause
from .subscribe_requests import Frame, SubscribeRequests, subject
from .subscription import Subscription


class RefusedError(Exception):
    """A subscription that the server refused: ``not_found``, ``invalid`` or ``limit``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Client(ReconnectingClient):
    """
    A client with any number of subscriptions on one socket. It resumes all of them on the next socket.

    ``headers`` authenticate it: ``{"Authorization": "Token …"}``, or a session's ``Cookie`` with an
    ``Origin``. ``token`` fetches a one-time token for each socket instead; if it raises an OSError, the
    client tries again later. ``window`` is the shortest and longest pause before a new socket, in seconds;
    by default the server sets it.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        token: Token | None = None,
        window: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(url, headers, window, token)
        self._subscriptions: dict[tuple[str, str], Subscription] = {}
        self._socket: ClientConnection | None = None
        self._requests = SubscribeRequests()
        self._retries: set[asyncio.Task[None]] = set()
        #: Temporary refusals since an item last arrived.
        self._refusals = 0
        self._end: Exception | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running

    async def subscribe(
        self,
        object_type: str,
        id: str,  # noqa: A002  # the protocol's name
        since: Position | None = None,
        *,
        snapshot: bool = False,
    ) -> Subscription:
        """
        Return a subscription once the server has confirmed it: all later commits will arrive.

        Raises RefusedError if the server refuses the subscription, ClosedError if it rejects the client,
        and ValueError if the client has the same subscription already.
        """
        if self._end is not None:
            raise self._end
        cursor = Cursor(since, wants_snapshot=snapshot)
        subscription = Subscription(object_type, id, cursor, self._unsubscribe)
        if self._subscriptions.setdefault(subscription.key, subscription) is not subscription:
            raise ValueError(f"This client is subscribed to {object_type} {id} already.")
        try:
            await self._ask([subscription])
            await subscription.answered
        except BaseException:
            await subscription.unsubscribe()
            raise
        return subscription

    # One socket

    async def begin(self, socket: ClientConnection) -> None:
        """Request every subscription on the new socket, each from its cursor."""
        self._socket = socket
        await self._ask([*self._subscriptions.values()])

    def lose_socket(self) -> None:
        """Forget the lost socket: its requests remain unanswered."""
        self._socket = None
        self._requests.clear()
        for task in self._retries:
            task.cancel()
        for subscription in self._subscriptions.values():
            subscription.cursor.is_open = False

    async def receive(self, frame: Frame) -> None:
        """Called with each frame. Answers pings, and passes other frames to their subscriptions."""
        if frame["type"] == "ping":
            await self._send({"action": "pong"})
        elif "ref" in frame or frame["type"] == "error":
            await self._receive_answer(frame)
        elif subscription := self._subscription(frame.get("subscription", frame)):
            await self._deliver(subscription, frame)

    async def _receive_answer(self, frame: Frame) -> None:
        for subscription in self._requests.answered_by(frame):
            if self._subscriptions.get(subscription.key) is not subscription:
                continue
            if frame["type"] == "error":
                await self._refuse(subscription, frame)
            else:
                await self._deliver(subscription, frame)

    async def _deliver(self, subscription: Subscription, frame: Frame) -> None:
        if frame["type"] == "unsubscribed":
            if (
                subscription.cursor.is_open
            ):  # otherwise an earlier subscription to the same object ended
                await self._forget(subscription, str(frame.get("reason")))
            return
        item = subscription.cursor.take(frame)
        if item is not None:
            self.losses = self._refusals = 0
            subscription.accept()
            await subscription.deliver(item)

    async def _refuse(self, subscription: Subscription, error: Frame) -> None:
        if error.get("temporary"):
            wait = error.get("retry_after_ms")
            self._refusals += 1
            later = pause(self._refusals, self._window, None)
            seconds = wait / 1000 if isinstance(wait, int) else later
            task = asyncio.create_task(self._retry(subscription, seconds))
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)
            return
        code = str(error.get("code"))
        subscription.refuse(RefusedError(code, str(error.get("detail"))))
        await self._forget(subscription, code)

    async def _forget(self, subscription: Subscription, reason: str) -> None:
        del self._subscriptions[subscription.key]
        await subscription.deliver(Unsubscribed(reason=reason))

    # Commands

    async def _ask(self, subscriptions: Sequence[Subscription]) -> None:
        for command in self._requests.commands(subscriptions, self._subscriptions.values()):
            await self._send(command)

    async def _retry(self, subscription: Subscription, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self._subscriptions.get(subscription.key) is subscription:
            await self._ask([subscription])

    async def _unsubscribe(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.key) is subscription:
            del self._subscriptions[subscription.key]
            await self._send({"action": "unsubscribe", **subject(subscription)})

    async def _send(self, command: Frame) -> None:
        if self._socket is not None:
            # The read notices the loss, too, and the next socket gets every request again.
            with suppress(ConnectionClosed):
                await self._socket.send(json.dumps(command))

    # The client's life

    async def _run(self) -> None:
        try:
            await self.keep_up()
        except asyncio.CancelledError:
            self._finish(None)
            raise
        except Exception as error:  # noqa: BLE001  # raised in each iteration instead
            self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        self._end = error or ClosedError(1000, "by the client")
        for subscription in self._subscriptions.values():
            subscription.refuse(self._end)
            subscription.end(error)
        self._subscriptions.clear()

    def _subscription(self, about: Any) -> Subscription | None:
        if not isinstance(about, dict):
            return None
        return self._subscriptions.get((about.get("object_type", ""), about.get("id", "")))
