"""Who reads slowly, or not at all, costs others nothing, and loses nothing."""

import asyncio
import json
import time
from datetime import datetime
from functools import partial
from statistics import quantiles

import psutil
import pytest
from rest_framework.authtoken.models import Token
from websockets.frames import Opcode

from tests.benchmarks.clients import Clients
from tests.followers import Follower, name_of
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.lags import (
    LIVE_SECONDS,
)
from tests.sockets import in_thread, subject
from tests.waiting import until
from tests.workers.clients import BareSocket

pytestmark = pytest.mark.django_db(transaction=True)


#: Messages that wait for a socket, and no more; and how long they do, when it takes nothing.
CAPACITY, SLOW_SECONDS = 50, 6


class Slow:
    """A client that reads as slowly as it likes, or not at all."""

    def __init__(self, port, token, *subjects):
        headers = {"Authorization": f"Token {token}"}
        self.socket = BareSocket(port, "/ws/notifications/", is_narrow=True, **headers)
        self.follower = Follower(*subjects)
        self.hear(self.socket.arrived)
        self.socket.say(json.dumps({"subscriptions": self.follower.wishes()}))

    def hear(self, frames):
        """Take whole frames; return how old the last notification is, if there is one."""
        lag = None
        for frame in frames:
            if frame.opcode is Opcode.TEXT:
                said = json.loads(frame.data)
                self.follower.hear(said)
                if "at" in said:
                    lag = time.time() - datetime.fromisoformat(said["at"]).timestamp()
        return lag

    def sip(self, bytes_per_second, end):
        """Read slowly until the end."""
        while time.monotonic() < end:
            self.hear(self.socket.sip(bytes_per_second // 10))
            time.sleep(0.1)  # that is what makes it slow

    def read_on(self):
        """
        Read until the server closes, or what comes is as young as what is live.

        Return how much that was, and the code with which the server closed, if it did.
        """
        offset, lag = self.offset, None
        while self.socket.close is None and (lag is None or lag > LIVE_SECONDS / 2):
            lag = self.hear(self.socket.read())
        return self.offset - offset, self.socket.close and self.socket.close.code

    @property
    def offset(self):
        """How much it has, since time began."""
        return sum(position["offset"] for position in self.follower.positions.values())


async def test_a_slow_reader(site, demo, ticket, project, streams, client):
    """
    A hundred others have everything, and print how soon; Daphne keeps nothing for it; it has all that
    is between where it began and where it is, until it takes nothing for too long; and then it resumes.
    """
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.workers.daphne_settings",
        "DAPHNE_REALTIME": json.dumps({"SLOW_SECONDS": SLOW_SECONDS, "SOCKETS_PER_USER": 200}),
        "DAPHNE_LAYER": json.dumps({"capacity": CAPACITY}),
    }
    await in_thread(site.start, "worker", "beat", "daphne")
    daphne = psutil.Process(site.running["daphne"].pid)
    token, _ = await in_thread(Token.objects.get_or_create, user=demo)
    wishes = [(token.key, json.dumps(subject(ticket)))] * 100
    slow = partial(Slow, site.daphne_port, token.key, *streams.values())
    with Clients() as others:
        assert await asyncio.to_thread(others.open, site.daphne_port, wishes)
        async with writing(site, project, rate=30, longest=4000):
            parts = [await taken(others, 90)]
            before = daphne.memory_info().rss
            sips, stops = slow(), slow()
            with sips.socket, stops.socket:
                start = time.monotonic()
                await asyncio.to_thread(sips.sip, 1000, start + SLOW_SECONDS - 1)
                missed, is_closed = await asyncio.to_thread(sips.read_on)
                parts.append(await taken(others, 1))
                # Its buffers take a while to fill.
                await until(lambda: time.monotonic() > start + SLOW_SECONDS + 4)
                parts.append(await taken(others, 1))
                _, code = await asyncio.to_thread(stops.read_on)
            grown = daphne.memory_info().rss - before
        resumed = client()
        resumed.follower = stops.follower
        closed_at = stops.offset
        async with following(resumed):
            await all_is_there(streams, resumed)
        rest = await asyncio.to_thread(others.take)
    one, *more = [
        [body for part in (*parts, rest) for _, body in part[place].notifications]
        for place in range(100)
    ]
    assert [one] * 99 == more
    offsets = [json.loads(body)["offset"] for body in one]
    head = resumed.follower.positions[name_of(subject(ticket))]["offset"]
    assert list(range(offsets[0], head + 1)) == offsets
    figures = [p99(part) for part in parts]
    print(
        f"p99 of 100 sockets: {figures[0]:.1f} ms alone, {figures[1]:.1f} and {figures[2]:.1f} beside one"
        f" that reads 1 kB/s and one that reads nothing; the one was {missed} notifications behind, and"
        f" the other one was closed with {code}, {stops.offset - closed_at} before the end; Daphne grew by"
        f" {grown / 2**20:.1f} MB"
    )
    assert missed > 2 * CAPACITY
    assert (None, 4503) == (is_closed, code)
    assert grown < 40 * 2**20


async def taken(others, count):
    """Return what each has heard once all have heard so much."""
    assert await asyncio.to_thread(others.wait, count)
    return await asyncio.to_thread(others.take)


def p99(part):
    """Return the age of notifications when they came, in milliseconds, that one in a hundred exceeds."""
    clock = time.time() - time.monotonic()  # the clients', and the database's
    lags = [
        at + clock - datetime.fromisoformat(json.loads(body)["at"]).timestamp()
        for heard in part[::10]
        for at, body in heard.notifications
    ]
    return quantiles(lags, n=100)[98] * 1000
