"""A client of ``ws/notifications/``, for services and tests: one socket, which comes back and resumes."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .asking import Asked, Frame, subject
from .following import Subscription
from .reconnecting import ClosedError, Reconnecting, pause
from .standing import Position, Standing, Unsubscribed


class RefusedError(Exception):
    """A subscription was refused: ``not_found``, ``invalid`` or ``limit``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Client(Reconnecting):
    """
    Follows any number of subjects through one socket, and resumes all of them on the next one.

    ``headers`` say who it is: ``{"Authorization": "Token …"}``, or a session's ``Cookie`` with an
    ``Origin``. ``window``, in seconds, is when it comes back, in place of what the server says.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        window: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(url, headers, window)
        self._subscriptions: dict[tuple[str, str], Subscription] = {}
        self._socket: ClientConnection | None = None
        self._asked = Asked()
        self._asking_again: set[asyncio.Task[None]] = set()
        #: Temporary refusals since one thing went well.
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
        id: str,  # noqa: A002  # the protocol's word
        since: Position | None = None,
        *,
        snapshot: bool = False,
    ) -> Subscription:
        """
        Return a subscription once the server follows: what is committed from then on will come.

        Raises RefusedError if the server refuses it, ClosedError if it won't have the client, and
        ValueError if the client follows that already.
        """
        if self._end is not None:
            raise self._end
        standing = Standing(since, wants_snapshot=snapshot)
        subscription = Subscription(object_type, id, standing, self._leave)
        if self._subscriptions.setdefault(subscription.key, subscription) is not subscription:
            raise ValueError(f"This client follows {object_type} {id} already.")
        try:
            await self._ask([subscription])
            await subscription.answered
        except BaseException:
            await subscription.unsubscribe()
            raise
        return subscription

    # One socket

    async def begin(self, socket: ClientConnection) -> None:
        """Ask for everything, each from where it stands."""
        self._socket = socket
        await self._ask([*self._subscriptions.values()])

    def leave(self) -> None:
        """Nothing that was asked will be answered."""
        self._socket = None
        self._asked.clear()
        for task in self._asking_again:
            task.cancel()
        for subscription in self._subscriptions.values():
            subscription.standing.is_open = False

    async def hear(self, frame: Frame) -> None:
        """Hand a frame to whom it concerns. What this client doesn't know it passes over."""
        if frame["type"] == "ping":
            await self._send({"action": "pong"})
        elif "ref" in frame or frame["type"] == "error":
            await self._hear_answer(frame)
        elif subscription := self._subscription(frame.get("subscription", frame)):
            await self._tell(subscription, frame)

    async def _hear_answer(self, frame: Frame) -> None:
        for subscription in self._asked.concerned(frame):
            if self._subscriptions.get(subscription.key) is not subscription:
                continue
            if frame["type"] == "error":
                await self._refuse(subscription, frame)
            else:
                await self._tell(subscription, frame)

    async def _tell(self, subscription: Subscription, frame: Frame) -> None:
        if frame["type"] == "unsubscribed":
            if subscription.standing.is_open:  # else it is about one that was here before
                await self._forget(subscription, str(frame.get("reason")))
            return
        word = subscription.standing.take(frame)
        if word is not None:
            self.losses = self._refusals = 0
            subscription.accept()
            await subscription.give(word)

    async def _refuse(self, subscription: Subscription, error: Frame) -> None:
        if error.get("temporary"):
            wait = error.get("retry_after_ms")
            self._refusals += 1
            later = pause(self._refusals, self._window, None)
            seconds = wait / 1000 if isinstance(wait, int) else later
            task = asyncio.create_task(self._ask_again(subscription, seconds))
            self._asking_again.add(task)
            task.add_done_callback(self._asking_again.discard)
            return
        code = str(error.get("code"))
        subscription.refuse(RefusedError(code, str(error.get("detail"))))
        await self._forget(subscription, code)

    async def _forget(self, subscription: Subscription, reason: str) -> None:
        del self._subscriptions[subscription.key]
        await subscription.give(Unsubscribed(reason=reason))

    # Commands

    async def _ask(self, subscriptions: Sequence[Subscription]) -> None:
        for command in self._asked.commands(subscriptions, self._subscriptions.values()):
            await self._send(command)

    async def _ask_again(self, subscription: Subscription, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self._subscriptions.get(subscription.key) is subscription:
            await self._ask([subscription])

    async def _leave(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.key) is subscription:
            del self._subscriptions[subscription.key]
            await self._send({"action": "unsubscribe", **subject(subscription)})

    async def _send(self, command: Frame) -> None:
        if self._socket is not None:
            with suppress(
                ConnectionClosed
            ):  # whoever reads finds that, too; the next one is asked anew
                await self._socket.send(json.dumps(command))

    # The whole

    async def _run(self) -> None:
        try:
            await self.keep_up()
        except asyncio.CancelledError:
            self._finish(None)
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, whoever iterates hears of it
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
