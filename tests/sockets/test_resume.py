"""Tests of resuming: a client that reconnects with its position gets all notifications that it missed."""

import asyncio

import pytest

from pillarbox.models import NotificationOutbox
from tests.communicators import (
    collection,
    drain,
    in_thread,
    rename,
    signed_in,
    subject,
    write,
)
from tests.rendering import number_all
from tests.sockets.resuming import (
    missed,
    position,
    where,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestRecovered:
    async def test_missed_notifications_follow(self, demo, ticket):
        """
        The answer says that the position is recovered; then come missed notifications, then new ones.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 3)
        async with signed_in(demo) as socket:
            answer = await socket.ask({**subject(ticket), "since": since, "ref": 1})
            assert {
                "type": "subscribed",
                "ref": 1,
                **subject(ticket),
                **since,
                "recovered": True,
                "missed": 3,
            } == (answer)
            frames = [await socket.receive() for _ in range(3)]
            assert [2, 3, 4] == [frame["offset"] for frame in frames]
            assert "Number 2" == frames[-1]["payload"]["title"]
            await rename(ticket, "New")
            assert 5 == (await socket.receive())["offset"]

    async def test_twice_in_a_row(self, demo, ticket):
        """
        A client that loses its second socket, too, resumes from that one's position.
        """
        since = await where(demo, subject(ticket))
        seen = []
        for _ in range(2):
            await missed(ticket, 2)
            async with signed_in(demo) as socket:
                await socket.ask({**subject(ticket), "since": since})
                seen += [await socket.receive() for _ in range(2)]
                since = position(seen[-1])
        assert [2, 3, 4, 5] == [frame["offset"] for frame in seen]

    async def test_with_nothing_missed(self, demo, ticket):
        """
        A client that missed nothing continues, also at the head of a stream without rows.
        """
        since = await where(demo, subject(ticket))
        own = {"object_type": "me", "id": "me"}
        empty = await where(demo, own)
        assert 0 == empty["offset"]
        async with signed_in(demo) as socket:
            for about, known in ((subject(ticket), since), (own, empty)):
                answer = await socket.ask({**about, "since": known})
                assert (True, known["offset"]) == (answer["recovered"], answer["offset"])
                assert "payload" not in answer

    async def test_thousands_in_pages(self, settings, demo, ticket):
        """
        Many missed notifications are sent in pages, in order, together with new ones.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"CATCH_UP_ROWS": 7}
        since = await where(demo, subject(ticket))
        await missed(ticket, 100)
        async with signed_in(demo) as socket:
            assert (await socket.ask({**subject(ticket), "since": since}))["recovered"]
            await rename(ticket, "New")
            frames = [await socket.receive() for _ in range(101)]
        assert list(range(2, 103)) == [frame["offset"] for frame in frames]

    async def test_with_the_present_state(self, demo, ticket):
        """
        With a snapshot, the answer has the object's present state, and missed notifications still follow.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 2)
        async with signed_in(demo) as socket:
            answer = await socket.ask({**subject(ticket), "since": since, "snapshot": True})
            assert (True, "Number 1") == (answer["recovered"], answer["payload"]["title"])
            assert [2, 3] == [(await socket.receive())["offset"] for _ in range(2)]

    async def test_two_sockets_of_one_stream(self, demo, ticket):
        """
        Each gets what it missed, independent of the other's position.
        """
        first = await where(demo, subject(ticket))
        await missed(ticket, 2)
        second = await where(demo, subject(ticket))
        await missed(ticket, 2)
        async with signed_in(demo) as one, signed_in(demo) as other:
            await asyncio.gather(
                one.ask({**subject(ticket), "since": first}),
                other.ask({**subject(ticket), "since": second}),
            )
            assert [2, 3, 4, 5] == [(await one.receive())["offset"] for _ in range(4)]
            assert [4, 5] == [(await other.receive())["offset"] for _ in range(2)]

    async def test_a_missed_deletion_in_a_collection_is_sent(self, demo, ticket, project):
        """
        The deletion of one of its objects doesn't end a collection's subscription.
        """
        since = await where(demo, collection(project))
        await in_thread(ticket.delete)
        await drain()
        async with signed_in(demo) as socket:
            assert (await socket.ask({**collection(project), "since": since}))["recovered"]
            assert "DELETE_TICKET" == (await socket.receive())["type"]

    async def test_a_failed_row_is_skipped(self, demo, ticket):
        """
        The offset of a failed row is sent without its content.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 2)
        rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}", offset=2)
        await in_thread(
            lambda: rows.update(published_at=None, failed_at="2026-11-22T00:00Z", error_type="E")
        )
        async with signed_in(demo) as socket:
            assert (await socket.ask({**subject(ticket), "since": since}))["recovered"]
            frames = [await socket.receive() for _ in range(2)]
        assert [("skipped", 2), ("UPDATE_TICKET", 3)] == [(f["type"], f["offset"]) for f in frames]

    async def test_numbered_rows_that_are_not_published_are_sent_once(self, demo, ticket):
        """
        They are read from the database, and dropped when they are published.
        """
        since = await where(demo, subject(ticket))
        await write(ticket, "On its way")
        await in_thread(number_all)
        async with signed_in(demo) as socket:
            await socket.ask({**subject(ticket), "since": since})
            assert 2 == (await socket.receive())["offset"]
            await rename(ticket, "After it")
            assert 3 == (await socket.receive())["offset"]
