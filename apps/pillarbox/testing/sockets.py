"""A user's socket to the consumer, in the process and the transaction of a test."""

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from django.conf import settings
from django.db import connection, connections, models
from django.test import Client

from ..exceptions import ClientCommandError, NotDrainedError, SocketClosedError
from ..routing import websocket_urlpatterns
from ..sockets.database import executor
from .drains import drain
from .followers import subject_of
from .overrides import patient_settings
from .threads import ThreadOfTest

#: How long a frame may take. It only matters for a test that fails.
SECONDS = 30


@asynccontextmanager
async def socket(user: Any) -> AsyncIterator["Socket"]:
    """
    Drain, and open a socket of a user, who is signed in with a session of Django.

    Raises SocketClosedError if the server refuses it, and NotDrainedError as `drain` does, or if the server
    doesn't see the user, whom a transaction of another thread has written.
    """
    with patient_settings():
        cookie = await sync_to_async(_cookie)(user)
        await sync_to_async(drain)()
        scope = {"type": "websocket", "path": "/ws/notifications/", "headers": _headers(cookie)}
        communicator = ApplicationCommunicator(_application, scope)
        opened = Socket(communicator)
        try:
            await opened.open()
            yield opened
        finally:
            if not communicator.future.done():  # as it is after a frame that didn't arrive
                await communicator.send_input({"type": "websocket.disconnect", "code": 1000})
                await communicator.wait(SECONDS)
            # The thread works in order, so this waits for the reads that the socket has begun.
            await sync_to_async(_close_connections)()


class Socket:
    """A client's socket. `socket` opens it."""

    def __init__(self, communicator: ApplicationCommunicator) -> None:
        self._communicator = communicator
        self._refs = count(1)
        #: Frames that arrived before an answer.
        self._earlier: deque[dict[str, Any]] = deque()
        #: The first frame.
        self.hello: dict[str, Any] = {}

    async def open(self) -> None:
        """Connect, and receive the first frame. Raises SocketClosedError."""
        await self._communicator.send_input({"type": "websocket.connect"})
        await self._communicator.receive_output(SECONDS)
        self.hello = await self._arriving()

    async def subscribe(
        self, about: models.Model, *, object_type: str | None = None, **command: Any
    ) -> dict[str, Any]:
        """
        Subscribe to an object, or to a collection that it owns; return the answer.

        ``object_type`` is as for `follow`; further arguments are keys of the command, such as ``snapshot``.
        Raises ClientCommandError if the server refuses it, for instance because the user may not see it.
        """
        return await self._ask("subscribe", about, object_type, command)

    async def unsubscribe(
        self, about: models.Model, *, object_type: str | None = None
    ) -> dict[str, Any]:
        """End a subscription, and return the answer."""
        return await self._ask("unsubscribe", about, object_type, {})

    async def receive(self, *, seconds: float = SECONDS) -> dict[str, Any]:
        """
        Drain, and return the next frame.

        Raises SocketClosedError, NotDrainedError, and TimeoutError if no frame arrives in time; the socket
        is then unusable.
        """
        await sync_to_async(drain)()
        return self._earlier.popleft() if self._earlier else await self._arriving(seconds)

    async def send(self, command: dict[str, Any]) -> None:
        """Send a command as it is."""
        await self._communicator.send_input(
            {"type": "websocket.receive", "text": json.dumps(command)}
        )

    async def _ask(
        self, action: str, about: models.Model, object_type: str | None, command: dict[str, Any]
    ) -> dict[str, Any]:
        ref = next(self._refs)
        await self.send({**command, **subject_of(about, object_type), "action": action, "ref": ref})
        while (answer := await self._arriving()).get("ref") != ref:
            self._earlier.append(answer)
        if answer["type"] == "error":
            raise ClientCommandError(answer["code"], answer["detail"])
        return answer

    async def _arriving(self, seconds: float = SECONDS) -> dict[str, Any]:
        message = await self._communicator.receive_output(seconds)
        if message["type"] == "websocket.close":
            raise SocketClosedError(message["code"])
        return json.loads(message["text"])  # type: ignore[no-any-return]


async def _application(scope: Any, receive: Any, send: Any) -> None:
    executor.set(ThreadOfTest())
    await URLRouter(websocket_urlpatterns)(scope, receive, send)


def _cookie(user: Any) -> str:
    """Sign a user in, and return the session's cookie."""
    if not user.__class__._base_manager.filter(pk=user.pk).exists():
        raise NotDrainedError(
            f"The server doesn't see {user}. In a test of pytest-asyncio, Django uses the database in another"
            " thread than the fixtures: mark it with `django_db(transaction=True)`, or make it a method of a"
            " TestCase."
        )
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].OutputString()


def _close_connections() -> None:
    """Close the thread's connections, with which a test database can't be dropped, except a test's own."""
    if not connection.in_atomic_block:
        connections.close_all()


def _headers(cookie: str) -> list[tuple[bytes, bytes]]:
    # Django's test runner allows this host.
    return [(b"cookie", cookie.partition(";")[0].encode()), (b"origin", b"http://testserver")]
