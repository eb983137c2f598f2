"""Tests of clients that read slowly or not at all: they miss nothing and delay no others."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from rest_framework.authtoken.models import Token
from websockets.frames import Opcode

from pillarbox.models import NotificationOutbox
from tests.bare_sockets import BareSocket
from tests.benchmarks.clients import Clients
from tests.communicators import in_thread, subject
from tests.followers import Follower
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.deliveries import figure, figure_becomes
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


#: The most messages that Daphne keeps for a socket, and the number of other sockets.
CAPACITY, OTHERS = 50, 20
#: Changes per second, and the length of the longest text.
RATE, LONGEST = 30, 4000
#: A busy machine must not cut off a client.
PATIENT = {"SLOW_SECONDS": 3600, "HEARTBEAT_SECONDS": 3600}


class Slow:
    """A client that reads slowly, or not at all."""

    def __init__(self, port, token, *subjects):
        headers = {"Authorization": f"Token {token}"}
        self.socket = BareSocket(port, "/ws/notifications/", is_narrow=True, **headers)
        self.follower = Follower(*subjects)
        self.keep(self.socket.arrived)
        self.socket.send_text(json.dumps({"subscriptions": self.follower.requests()}))

    def keep(self, frames):
        """Check and keep complete frames."""
        for frame in frames:
            if frame.opcode is Opcode.TEXT:
                self.follower.receive(json.loads(frame.data))

    def read_some(self, most):
        """Read at most so many bytes."""
        self.keep(self.socket.read_some(most))

    def read_to(self, offset):
        """Read until the client is at an offset, or the server closes. Return the close code, or None."""
        while self.socket.close is None and self.offset < offset:
            self.keep(self.socket.read())
        return self.socket.close and self.socket.close.code

    @property
    def offset(self):
        """The sum of the client's offsets."""
        return sum(position["offset"] for position in self.follower.positions.values())


@asynccontextmanager
async def with_others(site, user, ticket, **limits):
    """Run a site under load, with other clients that follow the ticket. Fails if they miss anything."""
    site.commands = {
        **site.commands,
        "daphne": site.commands["daphne"].replace("-m pillarbox.server", "-m tests.server.serving"),
    }
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.server.daphne_settings",
        "DAPHNE_PILLARBOX": json.dumps(PATIENT | limits),
        "DAPHNE_LAYER": json.dumps({"capacity": CAPACITY}),
        "CLOSE_TIMEOUT_SECONDS": str(PATIENCE),
        "SHUTDOWN_SECONDS": "2",
    }
    await in_thread(site.start, "worker", "beat", "daphne")
    token, _ = await in_thread(Token.objects.get_or_create, user=user)
    with Clients() as others:
        requests = [(token.key, json.dumps(subject(ticket)))] * OTHERS
        assert await asyncio.to_thread(others.open, site.daphne_port, requests)
        async with writing(site, ticket.project, rate=RATE, longest=LONGEST):
            assert await asyncio.to_thread(others.wait, 1, PATIENCE)
            yield token.key
        assert await in_thread(have_everything, others, f"ticket:{ticket.pk}")


def have_everything(others, stream):
    """Whether each other client receives all notifications in order, from its first one on."""
    head = NotificationOutbox.objects.filter(stream=stream).count()
    received = [offsets(each) for each in others.take()]
    last = max(each[-1] for each in received if each)
    for offset in range(last, head):  # pragma: no cover  # notifications that were still to come
        assert others.wait(1, PATIENCE), offset
        for before, each in zip(received, others.take(), strict=True):
            before.extend(offsets(each))
    return all(list(range(each[0], head + 1)) == each for each in received)


def offsets(client):
    return [json.loads(body)["offset"] for _, body in client.notifications]


async def total(streams):
    """Return the number of rows of the streams."""
    return await in_thread(NotificationOutbox.objects.filter(stream__in=streams).count)


async def fall_behind(site, slow, streams):
    """Read much less than the server sends, until Daphne drops messages for this client."""
    there = await total(streams)
    while not await figure(site, "messages_dropped_total"):
        there, before = await total(streams), there
        await asyncio.to_thread(slow.read_some, 1 + 100 * (there - before))


async def test_a_slow_reader_misses_nothing(site, demo, ticket, streams):
    """
    Daphne keeps a few messages for a slow client and drops others. Later it receives everything, in order.
    """
    async with with_others(site, demo, ticket) as token:
        slow = await asyncio.to_thread(Slow, site.daphne_port, token, *streams.values())
        with slow.socket:
            await asyncio.wait_for(fall_behind(site, slow, streams), PATIENCE)
            missed = await total(streams) - slow.offset
            assert await asyncio.to_thread(slow.read_to, await total(streams)) is None
    print(f"It was {missed} notifications behind")
    assert missed > CAPACITY


async def test_a_client_that_reads_nothing_is_cut_off_and_resumes(
    site, demo, ticket, streams, client
):
    """
    The client can read the frames sent before, and the close code with the reason. Then it resumes.
    """
    async with with_others(site, demo, ticket, SLOW_SECONDS=3) as token:
        slow = await asyncio.to_thread(Slow, site.daphne_port, token, *streams.values())
        with slow.socket:
            await figure_becomes(
                site, "subscriptions", lambda count: count == OTHERS + len(streams)
            )
            await figure_becomes(site, "subscriptions", lambda count: count == OTHERS)
            assert 4503 == await asyncio.to_thread(slow.read_to, float("inf"))
    resumed = client()
    resumed.follower = slow.follower
    async with following(resumed):
        await all_is_there(streams, resumed)
