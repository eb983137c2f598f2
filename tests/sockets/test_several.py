"""Tests of several subscriptions in one command, each with its own answer."""

import asyncio

import pytest

from apps.tickets.models import Project
from pillarbox.types import hashids
from tests.communicators import (
    collection,
    database_away,
    in_thread,
    rename,
    signed_in,
    subject,
)
from tests.sockets.resuming import missed, where

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestSeveral:
    async def test_each_is_answered_in_order(self, demo, ticket, project):
        """
        Each entry, valid or not, new or known, is answered with its index.
        """
        missing = {"object_type": "ticket", "id": hashids.encode("ticket", 4711)}
        entries = [subject(ticket), {"id": 1}, missing, collection(project), subject(ticket), 7]
        async with signed_in(demo) as socket:
            await socket.send({"action": "subscribe", "ref": 8, "subscriptions": entries})
            frames = [await socket.receive() for _ in entries]
            await rename(ticket, "Changed")
            changed = [await socket.receive() for _ in range(2)]
        assert list(range(6)) == [frame["index"] for frame in frames]
        assert {8} == {frame["ref"] for frame in frames}
        kinds = ["subscribed", "invalid", "not_found", "subscribed", "subscribed", "invalid"]
        assert kinds == [frame.get("code", frame["type"]) for frame in frames]
        assert {"object_type", "id"} == set(frames[1]["errors"])
        assert {"ticket", "project.tickets"} == {
            frame.get("subscription", frame)["object_type"] for frame in changed
        }

    async def test_with_positions_and_snapshots(self, demo, ticket, project):
        """
        Missed notifications and snapshots follow the answer of their own entry.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 1)
        entries = [{**subject(ticket), "since": since}, {**collection(project), "snapshot": True}]
        async with signed_in(demo) as socket:
            await socket.send({"subscriptions": entries})
            frames = [await socket.receive() for _ in range(4)]
        kinds = ["subscribed", "UPDATE_TICKET", "subscribed", "snapshot"]
        assert kinds == [frame["type"] for frame in frames]
        assert [0, None, 1, 1] == [frame.get("index") for frame in frames]

    async def test_other_tasks_run_between_entries(self, demo):
        """
        The event loop runs them after each entry is validated, and after each answer.
        """
        async with signed_in(demo) as socket:
            await socket.send({"subscriptions": [{}] * 100})
            turns = 0
            while socket.communicator.output_queue.qsize() < 100:
                await asyncio.sleep(0)
                turns += 1
        assert turns > 150

    async def test_the_limit_of_subscriptions(self, settings, demo, ticket, project):
        """
        The first entries are granted. A command with more entries than the limit is refused as a whole.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SUBSCRIPTIONS": 2}
        own = {"object_type": "me", "id": "me"}
        async with signed_in(demo) as socket:
            await socket.ask(own)
            await socket.send({"subscriptions": [subject(ticket), collection(project)]})
            frames = [await socket.receive() for _ in range(2)]
            assert ["subscribed", "limit"] == [f.get("code", f["type"]) for f in frames]
            answer = await socket.ask({"subscriptions": [own] * 3})
            assert ["Expected 2 entries at most."] == answer["errors"]["subscriptions"]

    async def test_refused_entries_do_not_count(self, settings, demo, ticket, project):
        """
        At the limit, the answer doesn't tell whether an object exists.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SUBSCRIPTIONS": 2}
        missing = {"object_type": "ticket", "id": hashids.encode("ticket", 4711)}
        secret = await in_thread(Project.objects.create, name="Secret")
        async with signed_in(demo) as socket:
            await socket.ask({"object_type": "me", "id": "me"})
            await socket.send({"subscriptions": [missing, subject(ticket)]})
            frames = [await socket.receive() for _ in range(2)]
            assert ["not_found", "subscribed"] == [f.get("code", f["type"]) for f in frames]
            for about in (missing, collection(secret), collection(project)):
                assert "limit" == (await socket.ask(about))["code"]
            await rename(ticket, "Changed")
            assert subject(ticket).items() <= (await socket.receive()).items()
            assert await socket.answers()

    async def test_with_the_database_away(self, demo, ticket):
        """
        Each entry is answered, and all groups are left.
        """
        async with signed_in(demo) as socket:
            async with database_away():
                await socket.send({"subscriptions": [subject(ticket), {"id": 1}]})
                codes = [(await socket.receive())["code"] for _ in range(2)]
            assert ["unavailable", "invalid"] == codes
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]
