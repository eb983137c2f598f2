"""A socket to the consumer in this process, and functions for its tests."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.db import DEFAULT_DB_ALIAS, connection, connections
from rest_framework.authtoken.models import Token

from apps.tickets.live import TicketType
from apps.tickets.models import Project
from pillarbox.conf import pillarbox_settings
from pillarbox.relay.relay import Relay
from pillarbox.routing import websocket_urlpatterns
from pillarbox.sockets.database import in_database, in_housekeeping
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.types import hashids
from pillarbox.types.registry import object_type, register, unregister
from tests.database import accept_connections, refuse_connections
from tests.rendering import render_all
from tests.waiting import PATIENCE, until

T = TypeVar("T")

#: The consumer at its path.
sockets = URLRouter(websocket_urlpatterns)


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run a function that uses the ORM in another thread, and return its result."""

    def run() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


async def drain() -> None:
    """Publish all due rows."""

    def run() -> None:
        with Relay(using=DEFAULT_DB_ALIAS) as relay:
            assert not relay.drain(seconds=PATIENCE).is_cut_short

    await in_thread(run)


async def check_twice() -> None:
    """Check positions twice, which finds rows that never arrived."""
    for _ in range(2):
        await housekeeping().positions.check()


class Socket:
    """A socket of a client, which sends and receives JSON frames."""

    def __init__(self, communicator: WebsocketCommunicator, subprotocol: str | None = None) -> None:
        self.communicator, self.subprotocol = communicator, subprotocol
        self.hello: Any = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the handshake."""
        return self.communicator.scope["headers"]  # type: ignore[no-any-return]

    def stop_reading(self) -> None:
        """Stop receiving: from now on, the server waits when it sends."""
        self.communicator.output_queue._maxsize = 1

    async def send(self, frame: Any) -> None:
        """Send a frame; text and bytes as they are, anything else as JSON."""
        if isinstance(frame, bytes):
            await self.communicator.send_to(bytes_data=frame)
        else:
            text = frame if isinstance(frame, str) else json.dumps(frame)
            await self.communicator.send_to(text_data=text)

    async def receive(self) -> Any:
        """Return the next frame."""
        return json.loads(await self.communicator.receive_from(PATIENCE))

    async def ask(self, frame: Any) -> Any:
        """Send a command and return its answer."""
        await self.send(frame)
        return await self.receive()

    async def closed(self) -> int:
        """Wait until the server closes the socket, and return the close code."""
        message = await self.communicator.receive_output(PATIENCE)
        assert "websocket.close" == message["type"]
        return message["code"]

    async def answers(self) -> bool:
        """Send a ping, and return whether the next frame is its pong."""
        return await self.ask({"action": "ping", "ref": 1}) == {"type": "pong", "ref": 1}

    async def sent_nothing_more(self) -> bool:
        """Wait until the consumer of a closed socket has ended, and return whether it sent nothing more."""
        await self.communicator.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.communicator.wait(PATIENCE)
        return self.communicator.output_queue.empty()

    async def received_nothing(self, user: Any) -> bool:
        """
        Whether earlier publications sent no frame to this socket.

        Publishes a change of another project, whose frame must be the next one to arrive.
        """
        project = await in_thread(_project_of, user)
        about = {"object_type": "project", "id": hashids.encode("project", project.pk)}
        assert "subscribed" == (await self.ask(about))["type"]
        project.name = "Witness"
        await in_thread(project.save)
        await drain()
        frame = await self.receive()
        await self.ask({"action": "unsubscribe", **about})
        return frame["type"] == "UPDATE_PROJECT"


def _project_of(user: Any) -> Project:
    project = Project.objects.create(name="For a witness")
    project.members.add(user)
    with Relay(using=DEFAULT_DB_ALIAS) as relay:
        relay.drain()
    return project


@asynccontextmanager
async def connected(headers: list[tuple[bytes, bytes]], **scope: Any) -> AsyncIterator[Socket]:
    """Open a socket with these headers, which the server must accept. A middleware would set ``scope``."""
    communicator = WebsocketCommunicator(sockets, "/ws/notifications/", headers=headers)
    communicator.scope |= scope
    accepted, subprotocol = await communicator.connect(PATIENCE)
    assert accepted
    try:
        yield Socket(communicator, subprotocol)
    finally:
        await communicator.disconnect(timeout=PATIENCE)
        await reads_have_ended()


async def reads_have_ended() -> None:
    """Wait until no thread reads for a socket, because a late read would disturb the next test."""
    threads = pillarbox_settings().DATABASE_THREADS
    together = threading.Barrier(threads)
    everywhere = (in_database(together.wait) for _ in range(threads))
    lookers = (in_housekeeping(name, int) for name in ("positions", "rights", "ends"))
    await asyncio.gather(*everywhere, *lookers, return_exceptions=True)
    await until(lambda: "pillarbox-rendering" not in {one.name for one in threading.enumerate()})


async def token_of(user: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers that authenticate a user."""
    token, _ = await in_thread(Token.objects.get_or_create, user=user)
    return [(b"authorization", f"Token {token.key}".encode())]


@asynccontextmanager
async def signed_in(user: Any) -> AsyncIterator[Socket]:
    """Open a socket of a user, and receive its hello."""
    async with connected(await token_of(user)) as socket:
        socket.hello = await socket.receive()
        assert "hello" == socket.hello["type"]
        yield socket


async def statements_of(name: str, step: Callable[[], Awaitable[None]]) -> int:
    """Return how many statements a step executes on the housekeeping thread of that name."""
    made = []

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        made.append(sql)
        return execute(sql, *rest)

    async with executing(name, count):
        await step()
    return len(made)


@asynccontextmanager
async def executing(name: str, wrapper: Callable[..., Any]) -> AsyncIterator[None]:
    """Wrap the execution of statements on the housekeeping thread of that name."""
    await in_housekeeping(name, lambda: connection.execute_wrappers.append(wrapper))
    try:
        yield
    finally:
        await in_housekeeping(name, lambda: connection.execute_wrappers.remove(wrapper))


def subject(ticket):
    return {"object_type": "ticket", "id": hashids.encode("ticket", ticket.pk)}


def collection(project):
    return {"object_type": "project.tickets", "id": hashids.encode("project", project.pk)}


async def rename(ticket, title):
    """Change a ticket's title, and publish the change."""
    await write(ticket, title)
    await drain()


async def write(ticket, title):
    """Change a ticket's title without publishing the change."""
    ticket.title = title
    await in_thread(ticket.save)


@contextmanager
def registered(cls):
    """Replace the object type of the same name within the block. Its triggers stay."""
    kind = object_type(cls.name)
    unregister(cls.name)
    register(cls)
    try:
        yield
    finally:
        unregister(cls.name)
        register(type(kind))


def fail(ticket, title):
    """Change a ticket, and publish while its type is unregistered: its rows fail if MAX_ATTEMPTS is 1."""
    ticket.title = title
    ticket.save()
    render_all()
    unregister("ticket")
    try:
        with Relay(using=DEFAULT_DB_ALIAS) as relay:
            for _ in range(2):  # the row after a failed one is due in the next drain only
                relay.drain()
    finally:
        register(TicketType)


async def lose(settings):
    """Publish all due rows to a channel layer that delivers nothing."""
    listened_to = settings.CHANNEL_LAYERS
    ours = pillarbox_settings().CHANNEL_LAYER
    settings.CHANNEL_LAYERS = {ours: {"BACKEND": "tests.layers.RecordingLayer"}}
    await drain()
    settings.CHANNEL_LAYERS = listened_to


@asynccontextmanager
async def database_away(process: str = "") -> AsyncIterator[None]:
    """Make the database refuse connections within the block, and end those of a process of this name."""
    await in_thread(refuse_connections, process)
    try:
        yield
    finally:
        await in_thread(accept_connections)


def rename_table(old, new):
    """Rename a table, so that queries of its old name fail."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")
