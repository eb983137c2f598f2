"""Tests of objects outside of their type's condition: for subscribers they are deleted."""

import pytest
from django.db.models import Q

from apps.tickets.live import ProjectType, TicketType
from pillarbox.sockets.housekeeping.recurring import housekeeping
from tests.communicators import collection, drain, in_thread, signed_in, subject
from tests.registration import registered

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def types(published):
    """Let closed tickets be deleted ones, and projects with a name of one letter."""
    with registered(
        type("Open", (TicketType,), {"where": ~Q(status="closed")}),
        type("Named", (ProjectType,), {"where": Q(name__regex="..")}),
    ):
        yield


async def set_status(ticket, status):
    ticket.status = status
    await in_thread(ticket.save)
    await drain()


class TestSubscribers:
    async def test_of_a_collection(self, demo, project, ticket):
        """
        The object leaves the collection, and comes back. Snapshots don't have it meanwhile.
        """
        async with signed_in(demo) as socket:
            await socket.ask(collection(project))
            await set_status(ticket, "closed")
            assert "DELETE_TICKET" == (await socket.receive())["type"]
            async with signed_in(demo) as late:
                await late.ask({**collection(project), "snapshot": True})
                assert [] == (await late.receive())["items"]
            await set_status(ticket, "open")
            frame = await socket.receive()
            assert ("CREATE_TICKET", ticket.title) == (frame["type"], frame["payload"]["title"])

    async def test_of_the_object(self, demo, ticket):
        """
        Subscribers get a deletion, and then nobody can subscribe until it is back.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await set_status(ticket, "closed")
            assert "DELETE_TICKET" == (await socket.receive())["type"]
        async with signed_in(demo) as socket:
            assert "not_found" == (await socket.ask(subject(ticket)))["code"]
            assert "not_found" == (await socket.ask({**subject(ticket), "snapshot": True}))["code"]
            await set_status(ticket, "open")
            answer = await socket.ask({**subject(ticket), "snapshot": True})
            assert ("subscribed", ticket.title) == (answer["type"], answer["payload"]["title"])

    async def test_an_access_check_leaves_a_deletion_to_its_row(self, demo, ticket):
        """
        A subscription whose object has left stays until the DELETE has arrived.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            ticket.status = "closed"
            await in_thread(ticket.save)
            await housekeeping().reauthorise()
            await drain()
            frames = [await socket.receive() for _ in range(2)]
        assert ["DELETE_TICKET", "unsubscribed"] == [frame["type"] for frame in frames]
        assert "deleted" == frames[-1]["reason"]

    async def test_of_a_collection_whose_owner_leaves(self, demo, project):
        """
        Nobody can subscribe to the collection, as if the owner were deleted.
        """
        async with signed_in(demo) as socket:
            project.name = "x"
            await in_thread(project.save)
            assert "not_found" == (await socket.ask(collection(project)))["code"]
