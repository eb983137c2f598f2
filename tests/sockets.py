"""A socket to the consumer in this process, with what its tests need around it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from channels.testing import WebsocketCommunicator
from django.db import DEFAULT_DB_ALIAS, connection, connections
from rest_framework.authtoken.models import Token

from apps.realtime import hashids
from apps.realtime.conf import realtime_settings
from apps.realtime.database import in_database, in_rounds
from apps.realtime.registry import object_type, register, unregister
from apps.realtime.routing import websocket
from apps.tickets.live import TicketType
from apps.tickets.models import Project
from tests.database import accept_connections, refuse_connections
from tests.waiting import PATIENCE
from workers.relay import Relay

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return what a function returns that uses the ORM, run in a thread of its own."""

    def run() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


async def drain() -> None:
    """Publish what is due."""

    def run() -> None:
        with Relay(using=DEFAULT_DB_ALIAS) as relay:
            relay.drain()

    await in_thread(run)


class Socket:
    """One connection: sends and receives JSON frames."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self.communicator = communicator
        self.hello: Any = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What its handshake said."""
        return self.communicator.scope["headers"]  # type: ignore[no-any-return]

    def stop_reading(self) -> None:
        """From now on take nothing from the server: what it sends next waits."""
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
        """Return the code with which the server ends the socket."""
        message = await self.communicator.receive_output(PATIENCE)
        assert "websocket.close" == message["type"]
        return message["code"]

    async def answers(self) -> bool:
        """Whether nothing came before the answer to a ping."""
        return await self.ask({"action": "ping", "ref": 1}) == {"type": "pong", "ref": 1}

    async def says_no_more(self) -> bool:
        """Whether nothing comes from a socket that the server has closed, to the end of its consumer."""
        await self.communicator.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.communicator.wait(PATIENCE)
        return self.communicator.output_queue.empty()

    async def silent(self, user: Any) -> bool:
        """
        Whether nothing came of all that was published before.

        A witness is published after it, on the same connection of the channel layer, and comes next.
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
async def connected(headers: list[tuple[bytes, bytes]]) -> AsyncIterator[Socket]:
    """A socket with these headers, accepted."""
    communicator = WebsocketCommunicator(websocket, "/ws/notifications/", headers=headers)
    accepted, _ = await communicator.connect(PATIENCE)
    assert accepted
    try:
        yield Socket(communicator)
    finally:
        await communicator.disconnect(timeout=PATIENCE)
        await reads_have_ended()


async def reads_have_ended() -> None:
    """Return when no thread reads for a socket any more: what reads still would be in a test's way."""
    threads = realtime_settings().DATABASE_THREADS
    together = threading.Barrier(threads)
    everywhere = (in_database(together.wait) for _ in range(threads))
    lookers = (in_rounds(name, int) for name in ("positions", "rights"))
    await asyncio.gather(*everywhere, *lookers, return_exceptions=True)


async def token_of(user: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers by which a user comes in."""
    token, _ = await in_thread(Token.objects.get_or_create, user=user)
    return [(b"authorization", f"Token {token.key}".encode())]


@asynccontextmanager
async def signed_in(user: Any) -> AsyncIterator[Socket]:
    """A socket of a user, past its hello."""
    async with connected(await token_of(user)) as socket:
        socket.hello = await socket.receive()
        assert "hello" == socket.hello["type"]
        yield socket


async def statements_of(name: str, step: Callable[[], Awaitable[None]]) -> int:
    """Return how many statements a step makes on the rounds' thread of that name."""
    made = []

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        made.append(sql)
        return execute(sql, *rest)

    await in_rounds(name, lambda: connection.execute_wrappers.append(count))
    try:
        await step()
    finally:
        await in_rounds(name, lambda: connection.execute_wrappers.remove(count))
    return len(made)


def subject(ticket):
    return {"object_type": "ticket", "id": hashids.encode("ticket", ticket.pk)}


def collection(project):
    return {"object_type": "project.tickets", "id": hashids.encode("project", project.pk)}


async def rename(ticket, title):
    """Change a ticket, and publish it."""
    await write(ticket, title)
    await drain()


async def write(ticket, title):
    """Change a ticket; its rows wait."""
    ticket.title = title
    await in_thread(ticket.save)


@contextmanager
def registered(cls):
    """An object type takes the place of the one of its name."""
    kind = object_type(cls.name)
    unregister(cls.name)
    register(cls)
    try:
        yield
    finally:
        unregister(cls.name)
        register(type(kind))


def fail(ticket, title):
    """Change a ticket; where MAX_ATTEMPTS is 1, its rows fail, since nothing knows their type."""
    ticket.title = title
    ticket.save()
    unregister("ticket")
    try:
        with Relay(using=DEFAULT_DB_ALIAS) as relay:
            for _ in range(2):  # the row behind a failed one is due in the next drain
                relay.drain()
    finally:
        register(TicketType)


async def lose(settings):
    """Publish what is due into a channel layer that nobody listens to."""
    listened_to = settings.CHANNEL_LAYERS
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    await drain()
    settings.CHANNEL_LAYERS = listened_to


@asynccontextmanager
async def database_away(process: str = "") -> AsyncIterator[None]:
    """The database takes no connections; those that a process has are cut. Here, nobody keeps one."""
    await in_thread(refuse_connections, process)
    try:
        yield
    finally:
        await in_thread(accept_connections)


def rename_table(old, new):
    """Take a table away, or give it back: who asks for it asks for nonsense."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")
