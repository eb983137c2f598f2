"""Tests of snapshots: the present state of an object, or of a collection in pages."""

import pytest
from django.db import connection
from django.db.models import Count
from django.test.utils import CaptureQueriesContext
from rest_framework import serializers

from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from pillarbox.sockets.subscriptions.snapshots import read_items
from pillarbox.sockets.subscriptions.subscription import Subscription
from tests.communicators import (
    collection,
    drain,
    in_thread,
    registered,
    rename,
    signed_in,
    subject,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class Fickle(TicketType):
    """A type of tickets that are visible to a first query, and not to a second one."""

    looks = 0

    def visible_to(self, user):
        Fickle.looks += 1
        return super().visible_to(user) if Fickle.looks % 2 else Ticket.objects.none()


def test_a_page_costs_few_queries(demo, project):
    """
    What the payloads show of other rows is read once for a page.
    """
    subscription = Subscription(object_type="project.tickets", id="", pk=project.pk)
    Ticket.objects.update(assignee=demo)
    costs = []
    for count in (1, 4):
        with CaptureQueriesContext(connection) as queries:
            items, _ = read_items(demo, subscription, None)
        costs.append(len(queries))
        assert ["demo"] * count == [item["assignee"] for item in items]
        Ticket.objects.bulk_create(Ticket(project=project, assignee=demo) for _ in range(3))
    assert [2, 2] == costs


class Counted(TicketType):
    """A type of tickets with the number of members of their project."""

    class serializer_class(TicketType.serializer_class):  # noqa: N801  # as the attribute
        members = serializers.IntegerField(read_only=True, source="member_count")

        class Meta:
            model, fields = Ticket, ["title", "members"]

    annotations = {"member_count": Count("project__members")}
    shows = ("project__members",)


class TestAnnotations:
    async def test_are_the_same_in_events_and_in_snapshots(self, demo, other, project, ticket):
        """
        Events, snapshots of objects and of collections show the same value.
        """
        shown = []
        with registered(Counted):
            async with signed_in(demo) as socket:
                answer = await socket.ask({**subject(ticket), "snapshot": True})
                await socket.ask({**collection(project), "snapshot": True})
                shown += [answer["payload"], *(await socket.receive())["items"]]
                await rename(ticket, ticket.title)
                await in_thread(Ticket.objects.filter(pk=ticket.pk).update, priority=3)
                await drain()
                shown += [(await socket.receive())["payload"] for _ in range(2)]
        assert [{"title": ticket.title, "members": 1}] * 4 == shown


class TestSnapshot:
    async def test_an_object_that_disappears_meanwhile_is_not_found(self, demo, ticket):
        """
        It disappears between the query for access and the query for its state.
        """
        with registered(Fickle):
            async with signed_in(demo) as socket:
                answer = await socket.ask({**subject(ticket), "snapshot": True})
                assert "not_found" == answer["code"]
                assert "subscribed" == (await socket.ask(subject(ticket)))["type"]

    async def test_pages_are_bounded_in_bytes(self, settings, demo, project, ticket):
        """
        A page has at most FRAME_BYTES, but at least one object. No object is left out.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"FRAME_BYTES": 1500}
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

    async def test_an_empty_collection_is_one_page(self, demo, project, ticket):
        """
        The page has no objects, and is the last one.
        """
        await in_thread(ticket.delete)
        async with signed_in(demo) as socket:
            await socket.ask({**collection(project), "snapshot": True})
            page = await socket.receive()
        assert ([], True) == (page["items"], page["done"])
