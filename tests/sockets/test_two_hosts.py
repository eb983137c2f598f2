"""The law of rights with two Redis hosts: ends of rights come from one, objects' rows from the other."""

from contextlib import AsyncExitStack
from itertools import count

import pytest
from channels.layers import get_channel_layer
from channels_redis.utils import _consistent_hash
from django.conf import settings as django_settings
from django.db import transaction

from apps.tickets.models import Ticket
from config.embedded import Servers, redis_url
from pillarbox.layer.layers import NotificationChannelLayer
from pillarbox.models import RIGHTS
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.types.groups import group_for
from tests.communicators import collection, drain, in_thread, signed_in, subject
from tests.rig.proxy import Proxy
from tests.sockets.drawn_walks import Walk
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "Secret"


class OneWayLayer(NotificationChannelLayer):
    """A layer that receives from its hosts directly, and publishes to the same hosts by way of proxies."""

    def __init__(self, *args, past, **options):
        super().__init__(*args, **options)
        self.past = NotificationChannelLayer(hosts=past, prefix=options["prefix"])

    async def group_send(self, group, message):
        await self.past.group_send(group, message)

    async def group_send_many(self, messages):
        await self.past.group_send_many(messages)


@pytest.fixture
async def hosts(settings, tmp_path, project, ticket):
    """Return proxies to two hosts: one for ends of rights, and one for the rows of a project and a ticket."""
    servers = Servers(tmp_path, postgres=False)
    await in_thread(servers.start)
    urls = [django_settings.REDIS_URL, redis_url(tmp_path)]
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(url)) for url in urls]
        entries = _entries(RIGHTS, [f"ticket:{ticket.pk}", f"project.tickets:{project.pk}"])
        options = {
            "hosts": [proxies[0 if is_first else 1].url for is_first in entries],
            "past": [urls[0 if is_first else 1] for is_first in entries],
            "prefix": "tests",
        }
        layer = {"BACKEND": f"{__name__}.OneWayLayer", "CONFIG": options}
        settings.CHANNEL_LAYERS = {"default": layer}
        yield proxies
        for layer in (get_channel_layer(), get_channel_layer().past):
            await layer.flush()
    await in_thread(servers.stop)


def _entries(first, others):
    """
    Return, for each entry of a list of hosts, whether it is the first host.

    With a list of this length, ends of rights belong to the first host, and the objects' streams to the
    second one. A checksum of the stream's name decides; in a list of two, some streams share a host whatever
    the prefix.
    """
    group_of = NotificationChannelLayer(prefix="tests")._get_layer()._get_group_channel_name
    names = [group_of(group_for(stream)) for stream in (first, *others)]
    places = ([_consistent_hash(name, length) for name in names] for length in count(2))
    length, (place, *_) = next(
        (length, found) for length, found in enumerate(places, 2) if found[0] not in found[1:]
    )
    return [number == place for number in range(length)]


def take(project, user, ticket):
    """End the user's right, and change the ticket, in one transaction."""
    with transaction.atomic():
        project.members.remove(user)
        Ticket.objects.filter(pk=ticket.pk).update(title=SECRET)


def take_and_give_back(project, user, ticket):
    take(project, user, ticket)
    project.members.add(user)


async def ends_without_the_row(socket, kind):
    """Receive a frame of a kind for each of two subscriptions, and no notification."""
    frames = []
    while 2 > frames.count(kind):
        frames.append((await socket.receive())["type"])
    await socket.send({"action": "ping"})
    while (frame := (await socket.receive())["type"]) != "pong":
        frames.append(frame)
    assert {kind, "snapshot"} >= {*frames}


ENDINGS = [(take, "unsubscribed"), (take_and_give_back, "resynced")]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("change", "kind"), ENDINGS)
class TestTwoHosts:
    async def test_the_end_is_late(self, hosts, demo, project, ticket, change, kind):
        """
        Its host stalls, so only the ticket's row arrives.
        """
        async with signed_in(demo) as socket:
            await follow(socket, project, ticket)
            hosts[0].stall()
            await in_thread(change, project, demo, ticket)
            await drain()
            await ends_without_the_row(socket, kind)
            hosts[0].resume()

    async def test_the_end_is_lost(self, hosts, demo, project, ticket, change, kind):
        """
        Its host is away.
        """
        async with signed_in(demo) as socket:
            await follow(socket, project, ticket)
            await hosts[0].refuse()
            await in_thread(change, project, demo, ticket)
            await drain()
            await ends_without_the_row(socket, kind)

    async def test_the_row_is_late(self, hosts, demo, project, ticket, change, kind):
        """
        Its host stalls until the socket has been checked for the end. Then the row arrives, or is lost.
        """
        async with signed_in(demo) as socket:
            await follow(socket, project, ticket)
            (served,) = housekeeping().sockets
            hosts[1].stall()
            await in_thread(change, project, demo, ticket)
            await drain()
            await until(lambda: served.access.times_affected and served.access.checked.is_set())
            hosts[1].resume()
            await ends_without_the_row(socket, kind)

    async def test_both_connections_are_lost(self, hosts, demo, project, ticket, change, kind):
        """
        They are made again after messages were lost.
        """
        async with signed_in(demo) as socket:
            await follow(socket, project, ticket)
            for host in hosts:
                await host.refuse()
            await in_thread(change, project, demo, ticket)
            await drain()
            for host in hosts:
                await host.accept()
            await ends_without_the_row(socket, kind)


async def follow(socket, project, ticket):
    for about in (subject(ticket), collection(project)):
        assert "subscribed" == (await socket.ask(about))["type"]


@pytest.mark.parametrize("seed", [1])
async def test_nothing_is_shown_without_the_right(settings, hosts, drawn, seed):
    """
    The law holds while each host stalls and loses messages.
    """
    walk = Walk(f"{seed} two hosts", drawn)

    async def stall():
        host = walk.chance.choice(hosts)
        host.stall()
        await drain()
        for client in walk.clients:
            await client.receive_all()
        host.resume()

    async def cut():
        walk.chance.choice(hosts).cut()
        await drain()

    await walk.go(settings, 25, stall, cut, stall, cut)
