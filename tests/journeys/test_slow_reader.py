"""Who reads slowly, or not at all, costs others nothing, and loses nothing."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from rest_framework.authtoken.models import Token
from websockets.frames import Opcode

from apps.outbox.models import NotificationOutbox
from tests.benchmarks.clients import Clients
from tests.followers import Follower
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.deliveries import comes, figure
from tests.sockets import in_thread, subject
from tests.waiting import PATIENCE
from tests.workers.clients import BareSocket

pytestmark = pytest.mark.django_db(transaction=True)


#: Messages that wait for a socket, and no more; and sockets of others.
CAPACITY, OTHERS = 50, 20
#: Changes in a second, and the longest text of one.
RATE, LONGEST = 30, 4000
#: Nobody is cut off for what a busy machine does.
PATIENT = {"SLOW_SECONDS": 3600, "HEARTBEAT_SECONDS": 3600}


class Slow:
    """A client that reads as slowly as it likes, or not at all."""

    def __init__(self, port, token, *subjects):
        headers = {"Authorization": f"Token {token}"}
        self.socket = BareSocket(port, "/ws/notifications/", is_narrow=True, **headers)
        self.follower = Follower(*subjects)
        self.hear(self.socket.arrived)
        self.socket.say(json.dumps({"subscriptions": self.follower.wishes()}))

    def hear(self, frames):
        """Take whole frames."""
        for frame in frames:
            if frame.opcode is Opcode.TEXT:
                self.follower.hear(json.loads(frame.data))

    def sip(self, most):
        """Read so many bytes, no more."""
        self.hear(self.socket.sip(most))

    def read_to(self, offset):
        """Read until it has so much, or the server closes; return the code of that."""
        while self.socket.close is None and self.offset < offset:
            self.hear(self.socket.read())
        return self.socket.close and self.socket.close.code

    @property
    def offset(self):
        """How much it has, since time began."""
        return sum(position["offset"] for position in self.follower.positions.values())


@asynccontextmanager
async def beside_others(site, user, ticket, **realtime):
    """A site that is written to, and others who follow the ticket. In the end each of them has everything."""
    site.commands = {
        **site.commands,
        "daphne": site.commands["daphne"].replace("-m workers.daphne", "-m tests.workers.serving"),
    }
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.workers.daphne_settings",
        "DAPHNE_REALTIME": json.dumps(PATIENT | realtime),
        "DAPHNE_LAYER": json.dumps({"capacity": CAPACITY}),
        "FAREWELL_SECONDS": str(PATIENCE),
        "CLOSE_SECONDS": "2",
    }
    await in_thread(site.start, "worker", "beat", "daphne")
    token, _ = await in_thread(Token.objects.get_or_create, user=user)
    with Clients() as others:
        wishes = [(token.key, json.dumps(subject(ticket)))] * OTHERS
        assert await asyncio.to_thread(others.open, site.daphne_port, wishes)
        async with writing(site, ticket.project, rate=RATE, longest=LONGEST):
            assert await asyncio.to_thread(others.wait, 1, PATIENCE)
            yield token.key
        assert await in_thread(have_everything, others, f"ticket:{ticket.pk}")


def have_everything(others, stream):
    """Return whether each of the others gets everything, from the first that it was sent, in order."""
    head = NotificationOutbox.objects.filter(stream=stream).count()
    heard = [offsets(each) for each in others.take()]
    last = max(each[-1] for each in heard if each)
    for offset in range(last, head):  # pragma: no cover  # those that were not there yet
        assert others.wait(1, PATIENCE), offset
        for before, each in zip(heard, others.take(), strict=True):
            before.extend(offsets(each))
    return all(list(range(each[0], head + 1)) == each for each in heard)


def offsets(heard):
    return [json.loads(body)["offset"] for _, body in heard.notifications]


async def total(streams):
    """Return how much there is of streams, since time began."""
    return await in_thread(NotificationOutbox.objects.filter(stream__in=streams).count)


async def fall_behind(site, slow, streams):
    """Have a client read much less than what comes, until Daphne keeps no more for it."""
    there = await total(streams)
    while not await figure(site, "messages_dropped_total"):
        there, before = await total(streams), there
        await asyncio.to_thread(slow.sip, 1 + 100 * (there - before))


async def test_who_reads_slowly_has_everything(site, demo, ticket, streams):
    """
    Daphne keeps a few messages for it and drops the others; later it has all that there is, in order.
    """
    async with beside_others(site, demo, ticket) as token:
        slow = await asyncio.to_thread(Slow, site.daphne_port, token, *streams.values())
        with slow.socket:
            await asyncio.wait_for(fall_behind(site, slow, streams), PATIENCE)
            missed = await total(streams) - slow.offset
            assert await asyncio.to_thread(slow.read_to, await total(streams)) is None
    print(f"It was {missed} notifications behind")
    assert missed > CAPACITY


async def test_who_reads_nothing_is_cut_off_and_resumes(site, demo, ticket, streams, client):
    """
    It has all that was sent before, and the code that says why no more came; then the rest.
    """
    async with beside_others(site, demo, ticket, SLOW_SECONDS=3) as token:
        slow = await asyncio.to_thread(Slow, site.daphne_port, token, *streams.values())
        with slow.socket:
            await comes(site, "subscriptions", lambda count: count == OTHERS + len(streams))
            await comes(site, "subscriptions", lambda count: count == OTHERS)
            assert 4503 == await asyncio.to_thread(slow.read_to, float("inf"))
    resumed = client()
    resumed.follower = slow.follower
    async with following(resumed):
        await all_is_there(streams, resumed)
