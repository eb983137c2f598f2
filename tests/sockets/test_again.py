"""Tests of requests for subscriptions that have started already."""

import pytest

from tests.communicators import (
    database_away,
    in_thread,
    rename,
    signed_in,
    subject,
)
from tests.sockets.resuming import missed, position, where

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestAgain:
    async def test_another_position_continues_from_the_present(self, settings, demo, ticket):
        """
        Even during a catch-up the answer has the present position, and only new notifications follow it.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"CATCH_UP_ROWS": 1}
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

    async def test_the_answer_says_whether_the_position_is_the_same(self, demo, ticket):
        """
        A request without a position gets the subscription's. Another position can't be resumed from.
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
            assert await socket.received_nothing(demo)

    async def test_an_object_that_is_no_longer_visible_is_not_shown(self, demo, ticket, project):
        """
        A snapshot is refused even if the subscription hasn't ended yet.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(project.members.clear)
            await socket.send({**subject(ticket), "snapshot": True})
            end, answer = [await socket.receive() for _ in range(2)]
        assert "revoked" == end["reason"]
        assert ("error", "not_found") == (answer["type"], answer["code"])

    async def test_with_the_database_away(self, demo, ticket):
        """
        The subscription stays, and the error is temporary.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            async with database_away():
                answer = await socket.ask({**subject(ticket), "snapshot": True})
            assert ("unavailable", True) == (answer["code"], answer["temporary"])
            await rename(ticket, "Changed")
            assert 2 == (await socket.receive())["offset"]
