"""Several subscriptions in one command: each has its own answer."""

import pytest

from apps.realtime import hashids
from apps.tickets.models import Project
from tests.realtime.resuming import missed, where
from tests.sockets import (
    collection,
    database_away,
    in_thread,
    rename,
    signed_in,
    subject,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestSeveral:
    async def test_each_is_answered_in_order(self, demo, ticket, project):
        """
        Good ones and bad ones, new ones and known ones, each with its index.
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
        What each one missed follows its own answer.
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

    async def test_no_more_than_a_socket_may_have(self, settings, demo, ticket, project):
        """
        The first ones are granted; a command with more than could ever be is refused as a whole.
        """
        settings.REALTIME = settings.REALTIME | {"SUBSCRIPTIONS": 2}
        own = {"object_type": "me", "id": "me"}
        async with signed_in(demo) as socket:
            await socket.ask(own)
            await socket.send({"subscriptions": [subject(ticket), collection(project)]})
            frames = [await socket.receive() for _ in range(2)]
            assert ["subscribed", "limit"] == [f.get("code", f["type"]) for f in frames]
            answer = await socket.ask({"subscriptions": [own] * 3})
            assert ["Expected 2 at most."] == answer["errors"]["subscriptions"]

    async def test_what_is_refused_takes_no_room(self, settings, demo, ticket, project):
        """
        Wherever it stands, and whatever it is refused for; where there is no room nothing is said of it.
        """
        settings.REALTIME = settings.REALTIME | {"SUBSCRIPTIONS": 2}
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
        Each is answered, and none is left half joined.
        """
        async with signed_in(demo) as socket:
            async with database_away():
                await socket.send({"subscriptions": [subject(ticket), {"id": 1}]})
                codes = [(await socket.receive())["code"] for _ in range(2)]
            assert ["unavailable", "invalid"] == codes
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]
