"""
The layers of channels-redis itself, in place of ours, by another alias beside a project's layer.

Sockets are served, and an outage costs no row.
"""

import pytest
from channels_redis.core import RedisChannelLayer
from django.conf import settings as django_settings
from redis.exceptions import TimeoutError as RedisTimeoutError

from pillarbox.models import NotificationOutbox
from tests.communicators import (
    check_twice,
    collection,
    connected,
    drain,
    in_thread,
    lose,
    rename,
    signed_in,
    subject,
    token_of,
    write,
)
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

BACKENDS = (
    f"{__name__}.Impatient",
    "channels_redis.pubsub.RedisPubSubChannelLayer",
)


class Impatient(RedisChannelLayer):
    """The layer of the core, which counts the waits that redis-py has ended."""

    ended_waits = 0

    async def receive(self, channel):
        try:
            return await super().receive(channel)
        except RedisTimeoutError:
            type(self).ended_waits += 1
            raise


NOWHERE = ["redis://127.0.0.1:1"]


@pytest.fixture(params=BACKENDS)
def layer(request, settings):
    """Return a function that makes another layer, with these hosts, the layer in use."""
    settings.PILLARBOX = settings.PILLARBOX | {"CHANNEL_LAYER": "live"}

    def use(hosts):
        config = {"hosts": hosts, "prefix": "tests-other"}
        settings.CHANNEL_LAYERS = {
            "default": {"BACKEND": "tests.layers.AwayLayer"},
            "live": {"BACKEND": request.param, "CONFIG": config},
        }

    use([django_settings.REDIS_URL])
    return use


async def test_notifications_and_ends_of_rights_arrive(layer, demo, project, ticket):
    """
    Changes are sent in order to each subscription, and a lost right ends them.
    """
    async with signed_in(demo) as one, signed_in(demo) as other:
        await one.ask(subject(ticket))
        await other.ask(collection(project))
        for title in ("First", "Second"):
            await rename(ticket, title)
            for socket in (one, other):
                assert title == (await socket.receive())["payload"]["title"]
        await in_thread(project.members.remove, demo)
        await drain()
        for socket in (one, other):
            assert "revoked" == (await socket.receive())["reason"]


async def test_a_socket_that_idles_stays_open(layer, demo, project, ticket):
    """
    Sockets outlive the time limit of redis-py, which ends each wait of the layer.
    """
    before = Impatient.ended_waits
    layer([{"address": django_settings.REDIS_URL, "socket_timeout": 0.5, "retry": None}])
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        if "Impatient" in django_settings.CHANNEL_LAYERS["live"]["BACKEND"]:
            await until(
                lambda: Impatient.ended_waits > before + 3
            )  # of the socket, and of its rights
        await rename(ticket, "Late")
        assert "Late" == (await socket.receive())["payload"]["title"]
        await in_thread(project.members.remove, demo)
        await drain()
        assert "revoked" == (await socket.receive())["reason"]


async def test_a_swallowed_cancellation_ends_the_socket(layer, settings, demo, caplog):
    """
    A socket ends without an error even if its layer turns the cancellation into another one.
    """
    settings.CHANNEL_LAYERS = {"live": {"BACKEND": "tests.layers.SwallowingLayer"}}
    async with signed_in(demo):
        pass
    assert "The channel layer broke" not in caplog.text


async def test_it_is_left_by_ended_subscriptions(layer, demo, ticket):
    """
    After an unsubscribe nothing more is sent.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await socket.ask({"action": "unsubscribe", **subject(ticket)})
        await rename(ticket, "Unseen")
        assert await socket.received_nothing(demo)


async def test_lost_messages_are_read_from_the_database(layer, settings, demo, ticket):
    """
    A position check finds what the layer has lost.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await write(ticket, "Lost")
        await lose(settings)
        await check_twice()
        assert "Lost" == (await socket.receive())["payload"]["title"]


async def test_an_outage_costs_no_row(layer, demo, ticket):
    """
    While the layer is away, sockets end with 4500, and rows wait without an attempt.
    """
    layer(NOWHERE)
    async with connected(await token_of(demo)) as refused:
        assert 4500 == await refused.closed()
    await rename(ticket, "Kept")
    row = await in_thread(NotificationOutbox.objects.get, stream=f"ticket:{ticket.pk}", offset=2)
    assert ("pending", 0) == (row.state, row.attempts)
    layer([django_settings.REDIS_URL])
    await drain()
    await in_thread(row.refresh_from_db)
    assert "published" == row.state
    async with signed_in(demo) as socket:
        assert 2 == (await socket.ask(subject(ticket)))["offset"]
