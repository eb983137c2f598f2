"""Clients of a site: real sockets to a real Daphne, which come back and resume."""

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

from apps.outbox.models import NotificationOutbox, Stream
from apps.realtime.reconnecting import Reconnecting
from tests.followers import Follower, announced, name_of, shown
from tests.processes import Site
from tests.sockets import in_thread
from tests.waiting import PATIENCE, until

#: Between which a client comes back, in seconds.
WINDOW = (0.02, 0.1)


class Client(Reconnecting):
    """Follows subjects through one socket after the other, resuming on each where the last one ended."""

    def __init__(self, port: int, user: Any, *subjects: Mapping[str, str]) -> None:
        super().__init__(f"ws://127.0.0.1:{port}/ws/notifications/", None, WINDOW)
        self.user, self.follower = user, Follower(*subjects)
        #: The notifications that came, in order.
        self.heard: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Follow, for ever."""
        token, _ = await in_thread(Token.objects.get_or_create, user=self.user)
        self._headers = {"Authorization": f"Token {token.key}"}
        await self.keep_up()

    async def begin(self, socket: ClientConnection) -> None:
        """Ask for everything."""
        await socket.send(json.dumps({"subscriptions": self.follower.wishes()}))

    def leave(self) -> None:
        """The follower knows where it is."""

    async def hear(self, frame: dict[str, Any]) -> None:
        """Have each frame judged as it is; nothing is passed over."""
        self.losses = 0
        self.follower.hear(frame)
        if "at" in frame:
            self.heard.append(frame)


@asynccontextmanager
async def following(*clients: Client) -> AsyncIterator[None]:
    """The clients follow, from now on, while the block runs."""
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
    """A writer of the site's is at it while the block runs."""
    words = [str(project.pk), str(rate), str(longest)]
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.journeys.writer", *words),
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
        await writer.communicate(b"")  # which ends it
    assert 0 == writer.returncode


async def all_is_there(streams: Mapping[str, Mapping[str, str]], *clients: Client) -> int:
    """
    Return how much there is, once the clients have it: exactly what the database has, each offset once.

    ``streams`` says by which subject each is followed. Nobody writes any more.
    """
    async with asyncio.timeout(PATIENCE):
        while await in_thread(NotificationOutbox.objects.filter(offset=None).exists):
            await asyncio.sleep(0.05)
    heads = dict(await in_thread(lambda: list(Stream.objects.values_list("name", "head"))))
    ends = {name_of(subject): heads[stream] for stream, subject in streams.items()}
    await until(lambda: all(client.follower.stands_at(ends) for client in clients))
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
    assert [[]] * len(clients) == [client.follower.words for client in clients]
    return rows
