"""Tests of the client for services, with the real processes."""

import asyncio

import pytest
from rest_framework.authtoken.models import Token

from pillarbox.capture.announce import announce
from pillarbox.client.client import Client, RefusedError
from pillarbox.client.cursor import Notification, Subscribed, Unsubscribed
from pillarbox.client.reconnection import ClosedError
from pillarbox.types import hashids
from tests.communicators import collection, in_thread, subject, write
from tests.rig.proxy import Proxy
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = (0.01, 0.05)


def client_of(user, port, **options):
    token, _ = Token.objects.get_or_create(user=user)
    url = f"ws://127.0.0.1:{port}/ws/notifications/"
    return Client(url, headers={"Authorization": f"Token {token.key}"}, **options)


async def items(subscription, count):
    """Return the next items of a subscription."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(subscription) for _ in range(count)]


async def test_a_service_follows(site, demo, other, project, ticket, relay):
    """
    A service follows objects, collections and its user's stream over one socket. Refusals, revocations and
    the end of its session are reported as documented.
    """
    await in_thread(relay.drain)
    await in_thread(site.start, "worker", "beat", "daphne")
    client = await in_thread(client_of, demo, site.daphne_port)
    async with client:
        one = await client.subscribe(*subject(ticket).values(), snapshot=True)
        (begun,) = await items(one, 1)
        assert (None, ticket.title) == (begun.recovered, begun.payload["title"])
        several = await client.subscribe(*collection(project).values(), snapshot=True)
        begun, page = await items(several, 2)
        assert isinstance(begun, Subscribed)
        assert (1, True) == (len(page.items), page.is_last)
        own = await client.subscribe("me", "me")
        await write(ticket, "Another")
        await in_thread(announce, demo, "EXPORT_DONE", {"url": "/7/"})
        for followed, count in ((one, 1), (several, 1)):
            (word,) = await items(followed, count)
            assert ("UPDATE_TICKET", "Another") == (word.event, word.payload["title"])
        _, word = await items(own, 2)
        assert ("EXPORT_DONE", "me", "me") == (word.event, word.object_type, word.id)

        with pytest.raises(RefusedError, match="not_found"):
            await client.subscribe("ticket", hashids.encode("ticket", 10**6))
        await in_thread(project.members.remove, demo)
        assert [Unsubscribed(reason="revoked")] * 2 == [
            *await items(one, 1),
            *await items(several, 1),
        ]
        await in_thread(Token.objects.all().delete)
        with pytest.raises(ClosedError) as caught:
            await items(own, 1)
    assert (4401, 1, 0) == (caught.value.code, client.sockets, client.breaches)


async def test_a_service_is_cut_off(site, demo, ticket, relay):
    """
    After resets and a stalled connection, the client resumes and receives each offset once, in order.
    """
    await in_thread(relay.drain)
    await in_thread(site.start, "worker", "beat", "daphne")
    async with Proxy(f"ws://127.0.0.1:{site.daphne_port}") as line:
        client = await in_thread(client_of, demo, line.port, window=AT_ONCE)
        async with client:
            one = await client.subscribe(*subject(ticket).values())
            (begun,) = await items(one, 1)
            received = []
            for turn in range(1, 4):
                line.reset()
                await write(ticket, f"Number {turn}")
                while not received or f"Number {turn}" != received[-1].payload["title"]:
                    received += [
                        item for item in await items(one, 1) if isinstance(item, Notification)
                    ]
            line.stall()
            line.reset()  # the next connection stalls
            await until(lambda: client.losses > 0)
            line.resume()
            await write(ticket, "The last")
            while "The last" != received[-1].payload["title"]:
                received += [item for item in await items(one, 1) if isinstance(item, Notification)]
            async with await in_thread(client_of, demo, site.daphne_port) as other:
                late = await other.subscribe(*subject(ticket).values(), since=begun.position)
                resumed, *missed = await items(late, 5)
                await write(ticket, "Live")
                missed += await items(late, 1)
                assert (True, 4) == (resumed.recovered, resumed.missed)
                assert [True] * 4 + [False] == [item.catching_up for item in missed]
                offsets = [item.position.offset for item in received]
                assert [begun.position.offset + turn for turn in range(1, 5)] == offsets
                assert (True, 0) == (client.sockets > 3, client.breaches)
