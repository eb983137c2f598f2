"""Clients of a site, with real sockets to a real Daphne. They reconnect and resume."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from django.conf import settings
from rest_framework.authtoken.models import Token
from websockets.asyncio.client import ClientConnection

from pillarbox.client.reconnection import ReconnectingClient
from pillarbox.models import NotificationOutbox, Stream
from tests.communicators import in_thread
from tests.followers import Follower, announced, name_of, shown
from tests.processes import Site
from tests.waiting import until, wait_until

#: The window in which a client reconnects, in seconds.
WINDOW = (0.02, 0.1)


class Client(ReconnectingClient):
    """A client that follows subjects across sockets, and resumes on each where the last one ended."""

    def __init__(self, port: int, user: Any, *subjects: Mapping[str, str]) -> None:
        super().__init__(f"ws://127.0.0.1:{port}/ws/notifications/", None, WINDOW)
        self.user, self.follower = user, Follower(*subjects)
        #: The notifications received, in order.
        self.received_frames: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Follow until cancelled."""
        token, _ = await in_thread(Token.objects.get_or_create, user=self.user)
        self._headers = {"Authorization": f"Token {token.key}"}
        await self.keep_up()

    async def begin(self, socket: ClientConnection) -> None:
        """Called on each new socket. Sends the subscribe requests."""
        await socket.send(json.dumps({"subscriptions": self.follower.requests()}))

    def lose_socket(self) -> None:
        """Called when a socket ends. Does nothing: the follower keeps the positions."""

    async def receive(self, frame: dict[str, Any]) -> None:
        """Called for each frame. Has the follower check it."""
        self.losses = 0
        self.follower.receive(frame)
        if "at" in frame:
            self.received_frames.append(frame)


@asynccontextmanager
async def following(*clients: Client) -> AsyncIterator[None]:
    """Run clients within the block, which begins once all are subscribed."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run()) for client in clients]
        await until(lambda: all(_is_subscribed(client) for client in clients))
        yield
        for task in tasks:
            task.cancel()


def _is_subscribed(client: Client) -> bool:
    return len(client.follower.positions) == len(client.follower.subjects)


@asynccontextmanager
async def writing(
    site: Site, project: Any, *, rate: float, longest: int = 200
) -> AsyncIterator[None]:
    """Run a writer within the block, which begins after its first change."""
    arguments = [str(project.pk), str(rate), str(longest)]
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.journeys.writer", *arguments),
        cwd=settings.BASE_DIR,
        env=site.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    try:
        assert b"writing\n" == await writer.stdout.readline()
        yield
    finally:
        await writer.communicate(b"")  # the end of its input ends the writer
    assert 0 == writer.returncode


async def all_is_there(streams: Mapping[str, Mapping[str, str]], *clients: Client) -> int:
    """
    Wait until the clients have all rows of the streams, each offset once. Return the number of rows.

    ``streams`` has the subject by which each stream is followed. No writer may run any more.
    """
    unnumbered = NotificationOutbox.objects.filter(offset=None)
    await in_thread(wait_until, lambda: not unnumbered.all().exists(), "all is numbered")
    heads = dict(await in_thread(lambda: list(Stream.objects.values_list("name", "head"))))
    ends = {name_of(subject): heads[stream] for stream, subject in streams.items()}
    await until(lambda: all(client.follower.is_at(ends) for client in clients))
    rows = 0
    for stream, subject in streams.items():
        name = name_of(subject)
        first = min(client.follower.began[name] for client in clients)
        expected = await in_thread(announced, stream, first)
        assert list(range(first + 1, heads[stream] + 1)) == [offset for offset, *_ in expected]
        for client in clients:
            began = client.follower.began[name]
            assert expected[began - first :] == shown(client.follower.frames[name])
        rows += len(expected)
    assert [[]] * len(clients) == [client.follower.ended for client in clients]
    return rows
