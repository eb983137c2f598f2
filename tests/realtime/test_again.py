"""Who subscribes again, to what it follows already."""

import pytest

from tests.realtime.resuming import missed, position, where
from tests.sockets import (
    database_away,
    in_thread,
    rename,
    signed_in,
    subject,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestAgain:
    async def test_from_elsewhere_nothing_old_follows(self, settings, demo, ticket):
        """
        In the middle of a catch-up, too: the answer is the present, and what comes is new.
        """
        settings.REALTIME = settings.REALTIME | {"CATCH_UP_ROWS": 1}
        since = await where(demo, subject(ticket))
        await missed(ticket, 5)
        async with signed_in(demo) as socket:
            entry = {**subject(ticket), "since": since}
            await socket.send({"subscriptions": [entry, entry]})
            frames = [await socket.receive() for _ in range(3)]
            assert [True, None, False] == [frame.get("recovered") for frame in frames]
            assert [1, 2, 6] == [frame["offset"] for frame in frames]
            await rename(ticket, "New")
            assert 7 == (await socket.receive())["offset"]

    async def test_subscribing_again_says_whether_it_is_the_same(self, demo, ticket):
        """
        Who follows it already is told where it stands; another position is none to go on from.
        """
        async with signed_in(demo) as socket:
            since = position(await socket.ask(subject(ticket)))
            assert (await socket.ask({**subject(ticket), "since": since}))["recovered"]
            answer = await socket.ask({**subject(ticket), "since": {**since, "offset": 0}})
            assert (False, ticket.title) == (answer["recovered"], answer["payload"]["title"])
            answer = await socket.ask({**subject(ticket), "snapshot": True})
            assert "recovered" not in answer
            assert ticket.title == answer["payload"]["title"]
            await rename(ticket, "Changed")
            assert 2 == (await socket.receive())["offset"]
            assert await socket.silent(demo)

    async def test_what_may_no_longer_be_seen_is_not_shown(self, demo, ticket, project):
        """
        Nor to who follows it still.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(project.members.clear)
            answer = await socket.ask({**subject(ticket), "snapshot": True})
        assert ("error", "not_found") == (answer["type"], answer["code"])

    async def test_with_the_database_away(self, demo, ticket):
        """
        The subscription stays, and the client is asked to try again.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            async with database_away():
                answer = await socket.ask({**subject(ticket), "snapshot": True})
            assert ("unavailable", True) == (answer["code"], answer["temporary"])
            await rename(ticket, "Changed")
            assert 2 == (await socket.receive())["offset"]
