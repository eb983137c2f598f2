"""Clients that lose their sockets, their servers or their patience: whoever resumes has everything."""

import asyncio
import json
import os
import random
import time
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from statistics import quantiles

import psutil
import pytest
import redis
from django.conf import settings
from django.contrib.auth import get_user_model
from rest_framework.authtoken.models import Token
from websockets.frames import Opcode

from apps.outbox.models import NotificationOutbox
from apps.realtime.groups import stream_for
from config.embedded import Servers, redis_url
from tests.benchmarks.clients import Clients
from tests.followers import Follower, name_of
from tests.journeys.clients import Client, all_is_there, following, writing
from tests.proxy import Proxy
from tests.sockets import collection, in_thread, subject, until
from tests.workers.clients import BareSocket

pytestmark = pytest.mark.django_db(transaction=True)

#: Another seed, other harms: `FAULTS_SEED=7 python -m pytest tests/journeys`.
SEED = int(os.environ.get("FAULTS_SEED", "1"))
#: Within which a lost push is found, and what a busy machine adds.
FOUND_SECONDS, MARGIN_SECONDS = 5.0, 2.0
#: Messages that wait for a socket, and no more; and how long they do, when it takes nothing.
CAPACITY, SLOW_SECONDS = 50, 6
#: What comes from a worker is younger, what comes from the position check is older.
LIVE_SECONDS, LOOKED_AT_SECONDS = 1.0, 3.0


@pytest.fixture
def streams(ticket):
    """What the clients follow: by stream, as they name it."""
    return {
        stream_for("ticket", ticket.pk): subject(ticket),
        stream_for("project.tickets", ticket.project_id): collection(ticket.project),
    }


@pytest.fixture
def client(site, demo, streams):
    """Return a new client of the site's Daphne, or of what is at a port before it."""

    def client(port=None, user=demo):
        return Client(port or site.daphne_port, user, *streams.values())

    return client


async def heard(client, count):
    """Return when a client has heard so many more."""
    until_then = len(client.heard) + count
    await until(lambda: len(client.heard) >= until_then)


async def test_through_a_bad_line(site, project, streams, client):
    """
    Who is cut off, reset, stalled and refused again and again has what who stayed has.
    """
    chance = random.Random(SEED)
    await in_thread(site.start, "worker", "beat", "daphne")
    async with Proxy(f"ws://127.0.0.1:{site.daphne_port}") as line:
        stayer, resumers = client(), [client(line.port) for _ in range(3)]
        async with following(stayer, *resumers):
            async with writing(site, project, rate=80, longest=20_000):
                for _ in range(30):
                    await harm(line, chance)
            rows = await all_is_there(streams, stayer, *resumers)
    sockets = [resumer.sockets for resumer in resumers]
    print(f"{rows} notifications, over {sockets} sockets")
    assert 1 == stayer.sockets
    assert 5 < min(sockets)


async def harm(line, chance):
    """Do something to a line, and make it good after a while."""
    match chance.choice(("stall", "refuse", "end")):
        case "stall":
            line.stall()
        case "refuse":
            await line.refuse()
    await asyncio.sleep(chance.uniform(0, 0.4))
    chance.choice((line.cut, line.reset, line.resume))()
    line.resume()
    await line.accept()


def is_live(client, since):
    """Whether all has come as soon as it was there, for longer than a position check comes round."""
    now = time.time()
    recent = client.lags(now - LOOKED_AT_SECONDS, now)
    return now > since + LOOKED_AT_SECONDS and recent and max(recent) < LIVE_SECONDS


def live_since(client, since):
    """Return the moment after another one from which all came as soon as it was there."""
    return max([since, *(at for at, lag in client.heard if lag >= LIVE_SECONDS)])


async def test_redis_away(site, project, streams, client):
    """
    Sockets stay, new ones come in and follow, notifications come from the database, in time; saves don't
    wait; and soon after Redis is back all is live again.
    """
    seconds = 12
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(Proxy(settings.REDIS_URL))
        site.environment["REDIS_URL"] = line.url
        await in_thread(site.start, "worker", "beat", "daphne")
        early, late = client(), client()
        await stack.enter_async_context(following(early))
        async with writing(site, project, rate=20) as report:
            await heard(early, 20)
            await line.refuse()
            gone = time.time()
            await stack.enter_async_context(following(late))
            await until(lambda: time.time() > gone + seconds)
            await line.accept()
            back = time.time()
            await until(lambda: is_live(early, back) and is_live(late, back))
        rows = await all_is_there(streams, early, late)
    away = [max(one.lags(gone, back)) for one in (early, late)]
    live = max(live_since(one, back) for one in (early, late))
    print(
        f"{rows} notifications; Redis away: after {max(away):.1f} s at the latest; live {live - back:.1f} s"
        f" after its return; the slowest change took {report['slowest']:.2f} s"
    )
    assert [1, 1] == [early.sockets, late.sockets]
    assert max(away) < FOUND_SECONDS + MARGIN_SECONDS
    assert live - back < FOUND_SECONDS + MARGIN_SECONDS
    assert report["slowest"] < 1


@pytest.fixture
def own_redis(site, tmp_path):
    """A Redis of the site's own."""
    folder = tmp_path / "redis"
    folder.mkdir()
    servers = Servers(folder, postgres=False)
    servers.start()
    site.environment["REDIS_URL"] = redis_url(folder)
    yield servers
    servers.stop()


async def test_redis_forgets_everything(site, project, streams, client, own_redis):
    """
    Emptied, and then ended and started again: bell, messages and groups are gone, and nothing else is.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    one = client()
    async with following(one):
        async with writing(site, project, rate=40):
            await heard(one, 20)
            await in_thread(forget, site.environment["REDIS_URL"])
            await heard(one, 40)
            await in_thread(own_redis.stop)
            await heard(one, 40)  # of the database
            await in_thread(own_redis.start)
            back = time.time()
            await until(lambda: is_live(one, back))
        rows = await all_is_there(streams, one)
    print(f"{rows} notifications; live {live_since(one, back) - back:.1f} s after Redis was back")
    assert 1 == one.sockets
    assert max(lag for _, lag in one.heard) < FOUND_SECONDS + MARGIN_SECONDS


def forget(url):
    with redis.Redis.from_url(url) as client:
        client.flushall()


async def test_without_workers(site, project, streams, client):
    """
    With worker and beat stopped the position check numbers what is committed, and sends it, in time.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    one = client()
    async with following(one):
        async with writing(site, project, rate=20):
            await heard(one, 20)
            for name in ("beat", "worker"):
                await in_thread(site.stop, name)
            stopped = time.time()
            while time.time() < stopped + FOUND_SECONDS:
                await heard(one, 1)
        rows = await all_is_there(streams, one)
    unpublished = NotificationOutbox.objects.filter(published_at=None, stream__in=streams)
    lags = one.lags(stopped, time.time())
    print(f"{rows} notifications; without workers after {max(lags):.1f} s at the latest")
    assert 0 < len(lags) <= await in_thread(unpublished.count)
    assert max(lags) < FOUND_SECONDS + MARGIN_SECONDS


async def test_daphne_killed(site, project, streams, client):
    """
    Twice, under load: each of twenty clients comes back, and has everything.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    clients = [client() for _ in range(20)]
    async with following(*clients):
        async with writing(site, project, rate=40):
            for turn in (1, 2):
                await heard(clients[0], 20)
                await in_thread(site.kill, "daphne")
                await in_thread(site.start, "daphne")
                started = time.time()
                await until(lambda turn=turn: all(one.sockets > turn for one in clients))
                await until(lambda since=started: all(one.heard[-1][0] > since for one in clients))
                print(f"all follow {time.time() - started:.1f} s after Daphne is back")
        rows = await all_is_there(streams, *clients)
    print(f"{rows} notifications for each of {len(clients)}")
    assert {3} == {one.sockets for one in clients}


async def test_a_member_is_removed(site, demo, project, streams, client):
    """
    Under load, by the ORM: soon nothing comes any more but the word that it is so, and others go on.
    """
    colleague = await in_thread(get_user_model().objects.create_user, "colleague")
    await in_thread(project.members.add, colleague)
    await in_thread(site.start, "worker", "beat", "daphne")
    removed, stays = client(), client(user=colleague)
    async with following(removed, stays):
        async with writing(site, project, rate=40):
            await heard(removed, 40)
            committed = await in_thread(remove, project, demo)
            await until(lambda: len(removed.follower.words) == len(streams))
            told = time.time()
            await heard(stays, 80)
        await all_is_there(streams, stays)
    last = removed.heard[-1][0] - committed
    print(
        f"the last notification came {last:.3f} s after the commit, the word {told - committed:.3f} s"
    )
    # What comes after the word would have failed in the follower: it stands nowhere any more.
    assert {name_of(subject) for subject in streams.values()} == {
        name_of(word) for word in removed.follower.words
    }
    assert {("unsubscribed", "revoked", False)} == {
        (word["type"], word["reason"], word["resubscribe"]) for word in removed.follower.words
    }
    assert 1 == removed.sockets
    assert told - committed < FOUND_SECONDS


def remove(project, user):
    project.members.remove(user)
    return time.time()


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
