"""The present state that a client asks for: an object, or a collection in pages."""

import pytest

from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from tests.sockets import (
    collection,
    in_thread,
    registered,
    signed_in,
    subject,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class Fickle(TicketType):
    """Tickets that are seen at first, and not at a second look."""

    looks = 0

    def visible_to(self, user):
        Fickle.looks += 1
        return super().visible_to(user) if Fickle.looks % 2 else Ticket.objects.none()


class TestSnapshot:
    async def test_what_goes_at_that_moment_is_not_found(self, demo, ticket):
        """
        Between the look whether it may be seen and the look at it.
        """
        with registered(Fickle):
            async with signed_in(demo) as socket:
                answer = await socket.ask({**subject(ticket), "snapshot": True})
                assert "not_found" == answer["code"]
                assert "subscribed" == (await socket.ask(subject(ticket)))["type"]

    async def test_pages_are_bounded_in_bytes(self, settings, demo, project, ticket):
        """
        A page has as much as FRAME_BYTES hold, one object at least, and nothing is left out.
        """
        settings.REALTIME = settings.REALTIME | {"FRAME_BYTES": 1500}
        titles = [letter * 100 for letter in "abcdefgh"]
        for title in titles:
            await in_thread(
                Ticket.objects.create, project=project, title=title, description=title * 4
            )
        await in_thread(
            Ticket.objects.create, project=project, title="Long", description="x" * 9000
        )
        async with signed_in(demo) as socket:
            await socket.ask({**collection(project), "snapshot": True})
            pages = [await socket.receive()]
            while not pages[-1]["done"]:
                pages.append(await socket.receive())
        assert [ticket.title, *titles, "Long"] == [
            item["title"] for page in pages for item in page["items"]
        ]
        assert 4 < len(pages) < 10

    async def test_of_an_empty_collection_is_one_page(self, demo, project, ticket):
        """
        With nothing in it.
        """
        await in_thread(ticket.delete)
        async with signed_in(demo) as socket:
            await socket.ask({**collection(project), "snapshot": True})
            page = await socket.receive()
        assert ([], True) == (page["items"], page["done"])
