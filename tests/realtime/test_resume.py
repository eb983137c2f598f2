"""A client that comes back with its position gets what it missed, whole."""

import asyncio

import pytest

from apps.outbox.models import NotificationOutbox
from tests.law import number_all
from tests.realtime.resuming import (
    missed,
    position,
    where,
)
from tests.sockets import (
    collection,
    drain,
    in_thread,
    rename,
    signed_in,
    subject,
    write,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestRecovered:
    async def test_what_was_missed_follows(self, demo, ticket):
        """
        The answer says that it is whole, and where it begins; then come the notifications, then what is new.
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
        Who loses the socket again resumes from where the last one stood.
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

    async def test_of_nothing(self, demo, ticket):
        """
        Who has received nothing, and missed nothing, goes on; also at the head of a stream without rows.
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
        However many were missed, they come in pages, in order, beside what is new.
        """
        settings.REALTIME = settings.REALTIME | {"CATCH_UP_ROWS": 7}
        since = await where(demo, subject(ticket))
        await missed(ticket, 100)
        async with signed_in(demo) as socket:
            assert (await socket.ask({**subject(ticket), "since": since}))["recovered"]
            await rename(ticket, "New")
            frames = [await socket.receive() for _ in range(101)]
        assert list(range(2, 103)) == [frame["offset"] for frame in frames]

    async def test_with_the_present_state(self, demo, ticket):
        """
        With a snapshot the answer has the object as it is now, and what was missed still follows.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 2)
        async with signed_in(demo) as socket:
            answer = await socket.ask({**subject(ticket), "since": since, "snapshot": True})
            assert (True, "Number 1") == (answer["recovered"], answer["payload"]["title"])
            assert [2, 3] == [(await socket.receive())["offset"] for _ in range(2)]

    async def test_two_sockets_of_one_stream(self, demo, ticket):
        """
        Each has what it missed, whatever the other one is at.
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

    async def test_a_deletion_of_a_member_is_seen(self, demo, ticket, project):
        """
        In a collection, what was deleted meanwhile is among what was missed.
        """
        since = await where(demo, collection(project))
        await in_thread(ticket.delete)
        await drain()
        async with signed_in(demo) as socket:
            assert (await socket.ask({**collection(project), "since": since}))["recovered"]
            assert "DELETE_TICKET" == (await socket.receive())["type"]

    async def test_a_failed_row_is_skipped(self, demo, ticket):
        """
        The offset of a row that failed is there, without what is in it.
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

    async def test_what_is_numbered_and_not_published_comes_once(self, demo, ticket):
        """
        What the database knows already is sent, and dropped when it is published.
        """
        since = await where(demo, subject(ticket))
        await write(ticket, "On its way")
        await in_thread(number_all)
        async with signed_in(demo) as socket:
            await socket.ask({**subject(ticket), "since": since})
            assert 2 == (await socket.receive())["offset"]
            await rename(ticket, "After it")
            assert 3 == (await socket.receive())["offset"]
