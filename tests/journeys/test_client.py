"""The client of services, with the real processes."""

import asyncio

import pytest
from rest_framework.authtoken.models import Token

from apps.realtime import hashids
from apps.realtime.announce import announce
from apps.realtime.client import Client, RefusedError
from apps.realtime.reconnecting import ClosedError
from apps.realtime.standing import Notification, Subscribed, Unsubscribed
from tests.rig.proxy import Proxy
from tests.sockets import collection, in_thread, subject, write
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = (0.01, 0.05)


def client_of(user, port, **options):
    token, _ = Token.objects.get_or_create(user=user)
    url = f"ws://127.0.0.1:{port}/ws/notifications/"
    return Client(url, headers={"Authorization": f"Token {token.key}"}, **options)


async def words(subscription, count):
    """Return so many words more."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(subscription) for _ in range(count)]


async def test_a_service_follows(site, demo, other, project, ticket, relay):
    """
    Objects, collections and its own stream over one socket; refused, revoked and signed out as promised.
    """
    await in_thread(relay.drain)
    await in_thread(site.start, "worker", "beat", "daphne")
    client = await in_thread(client_of, demo, site.daphne_port)
    async with client:
        one = await client.subscribe(*subject(ticket).values(), snapshot=True)
        (begun,) = await words(one, 1)
        assert (None, ticket.title) == (begun.recovered, begun.payload["title"])
        several = await client.subscribe(*collection(project).values(), snapshot=True)
        begun, page = await words(several, 2)
        assert isinstance(begun, Subscribed)
        assert (1, True) == (len(page.items), page.is_last)
        own = await client.subscribe("me", "me")
        await write(ticket, "Another")
        await in_thread(announce, demo, "EXPORT_DONE", {"url": "/7/"})
        for followed, count in ((one, 1), (several, 1)):
            (word,) = await words(followed, count)
            assert ("UPDATE_TICKET", "Another") == (word.event, word.payload["title"])
        _, word = await words(own, 2)
        assert ("EXPORT_DONE", "me", "me") == (word.event, word.object_type, word.id)

        with pytest.raises(RefusedError, match="not_found"):
            await client.subscribe("ticket", hashids.encode("ticket", 10**6))
        await in_thread(project.members.remove, demo)
        assert [Unsubscribed(reason="revoked")] * 2 == [
            *await words(one, 1),
            *await words(several, 1),
        ]
        await in_thread(Token.objects.all().delete)
        with pytest.raises(ClosedError) as caught:
            await words(own, 1)
    assert (4401, 1, 0) == (caught.value.code, client.sockets, client.breaches)


async def test_a_service_is_cut_off(site, demo, ticket, relay):
    """
    By resets, and by a door where nobody answers: it resumes, and hears each offset once, in order.
    """
    await in_thread(relay.drain)
    await in_thread(site.start, "worker", "beat", "daphne")
    async with Proxy(f"ws://127.0.0.1:{site.daphne_port}") as line:
        client = await in_thread(client_of, demo, line.port, window=AT_ONCE)
        async with client:
            one = await client.subscribe(*subject(ticket).values())
            (begun,) = await words(one, 1)
            heard = []
            for turn in range(1, 4):
                line.reset()
                await write(ticket, f"Number {turn}")
                while not heard or f"Number {turn}" != heard[-1].payload["title"]:
                    heard += [
                        word for word in await words(one, 1) if isinstance(word, Notification)
                    ]
            line.stall()
            line.reset()  # what comes back meets silence
            await until(lambda: client.losses > 0)
            line.resume()
            await write(ticket, "The last")
            while "The last" != heard[-1].payload["title"]:
                heard += [word for word in await words(one, 1) if isinstance(word, Notification)]
            async with await in_thread(client_of, demo, site.daphne_port) as other:
                late = await other.subscribe(*subject(ticket).values(), since=begun.position)
                resumed, *missed = await words(late, 5)
                await write(ticket, "Live")
                missed += await words(late, 1)
                assert (True, 4) == (resumed.recovered, resumed.missed)
                assert [True] * 4 + [False] == [word.catching_up for word in missed]
                offsets = [word.position.offset for word in heard]
                assert [begun.position.offset + turn for turn in range(1, 5)] == offsets
                assert (True, 0) == (client.sockets > 3, client.breaches)
