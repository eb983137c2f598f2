"""Tests of subscribing, resuming, snapshots and unsubscribing."""

import pytest
from django.db import transaction
from django.test import Client as Browser

from apps.tickets.models import Ticket
from pillarbox.capture.announce import announce
from pillarbox.relay.relay import Relay
from tests.communicators import (
    collection,
    drain,
    in_thread,
    rename,
    subject,
)
from tests.journeys.protocol.clients import OWN, position

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestSubscribe:
    async def test_bare_and_full(self, enter, demo, ticket):
        """
        A bare frame subscribes. A ref, number or string, is returned. Subscribing again changes nothing.
        """
        async with enter(demo) as client:
            answer = await client.ask(subject(ticket))
            epoch = answer["epoch"]
            expected = {"type": "subscribed", **subject(ticket), "epoch": epoch, "offset": 1}
            assert expected == answer
            for ref in (7, -(2**63) + 1, 2**63 - 1, "seven", "", "ü" * 64):
                command = {"action": "subscribe", "ref": ref, **subject(ticket)}
                assert {**expected, "ref": ref} == await client.ask(command)

    async def test_a_snapshot_is_the_object_as_it_is(self, enter, demo, ticket):
        """
        The answer has what REST shows.
        """
        async with enter(demo) as client:
            answer = await client.ask({**subject(ticket), "snapshot": True})
        browser = Browser()
        await in_thread(browser.force_login, demo)
        shown = await in_thread(browser.get, f"/api/tickets/{answer['id']}/")
        assert shown.json() == answer["payload"]

    async def test_a_collection_comes_in_pages(self, enter, demo, project, ticket):
        """
        Pages follow the answer, with its ref and index; the last one is marked. Other frames may lie between.
        """
        for title in "ab":
            await in_thread(Ticket.objects.create, project=project, title=title)
        await drain()
        entries = [{**collection(project), "snapshot": True}, OWN]
        async with enter(demo) as client:
            await client.send({"ref": 8, "subscriptions": entries})
            answer, *others = [await client.receive() for _ in range(4)]
        pages = [frame for frame in others if frame["type"] == "snapshot"]
        (other,) = [frame for frame in others if frame["type"] == "subscribed"]
        named = {"ref": 8, "index": 0, **collection(project)}
        assert {"type": "subscribed", **named, **position(answer)} == answer
        assert [("snapshot", False), ("snapshot", True)] == [(p["type"], p["done"]) for p in pages]
        assert all(named.items() <= page.items() for page in pages)
        titles = [item["title"] for page in pages for item in page["items"]]
        assert [ticket.title, "a", "b"] == titles
        assert ("subscribed", 8, 1, 0) == tuple(
            other[key] for key in ("type", "ref", "index", "offset")
        )

    async def test_resuming(self, enter, demo, ticket):
        """
        Missed notifications follow if all of them are kept. Otherwise only the present state is sent.
        """
        async with enter(demo) as client:
            since = position(await client.ask(subject(ticket)))
        for title in ("one", "two"):
            await rename(ticket, title)
        async with enter(demo) as client:
            answer = await client.ask({**subject(ticket), "ref": 1, "since": since})
            assert {
                "type": "subscribed",
                "ref": 1,
                **subject(ticket),
                **since,
                "recovered": True,
                "missed": 2,
            } == answer
            frames = [await client.receive() for _ in range(2)]
            assert [(2, "one"), (3, "two")] == [
                (frame["offset"], frame["payload"]["title"]) for frame in frames
            ]
        for lost in ({**since, "offset": 99}, {**since, "epoch": "another"}):
            async with enter(demo) as client:
                answer = await client.ask({**subject(ticket), "since": lost})
                assert (False, 3, "two") == (
                    answer["recovered"],
                    answer["offset"],
                    answer["payload"]["title"],
                )
                assert {"type": "pong"} == await client.ask({"action": "ping"})


class TestUnsubscribed:
    async def test_on_request(self, enter, demo, ticket):
        """
        The answer has the command's ref, and no frame follows. Unsubscribing again is no error.
        """
        about = {"action": "unsubscribe", "ref": 9, **subject(ticket)}
        async with enter(demo) as client:
            await client.ask(subject(ticket))
            for _ in range(2):
                assert {
                    "type": "unsubscribed",
                    "ref": 9,
                    **subject(ticket),
                    "reason": "requested",
                } == await client.ask(about)
            await client.ask(OWN)
            await rename(ticket, "Unseen")
            with_own = await in_thread(_announce_and_drain, demo)
            assert with_own == (await client.receive())["type"]

    async def test_by_a_deletion(self, enter, demo, project, ticket):
        """
        The end follows the notification of the deletion, which has only the id. The collection continues.
        """
        about = subject(ticket)
        async with enter(demo) as client:
            await client.ask(about)
            await client.ask(collection(project))
            await in_thread(ticket.delete)
            await drain()
            frames = [await client.receive() for _ in range(3)]
        own = [frame for frame in frames if "subscription" not in frame]
        assert ["DELETE_TICKET", "unsubscribed"] == [frame["type"] for frame in own]
        assert {"id": about["id"]} == own[0]["payload"]
        assert {"type": "unsubscribed", **about, "reason": "deleted", "resubscribe": False} == (
            own[1]
        )
        (of_all,) = [frame for frame in frames if "subscription" in frame]
        assert "DELETE_TICKET" == of_all["type"]

    async def test_by_a_lost_right(self, enter, demo, project, ticket):
        """
        A removed member receives `unsubscribed`; from then on the object is not found.
        """
        async with enter(demo) as client:
            await client.ask(subject(ticket))
            await in_thread(project.members.clear)
            await drain()
            assert {
                "type": "unsubscribed",
                **subject(ticket),
                "reason": "revoked",
                "resubscribe": False,
            } == await client.receive()
            assert "not_found" == (await client.ask(subject(ticket)))["code"]


def _announce_and_drain(user):
    with transaction.atomic():
        announce(user, "EXPORT_DONE", {})
    with Relay(using="default") as relay:
        relay.drain()
    return "EXPORT_DONE"
