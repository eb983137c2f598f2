"""Tests of notifications, and of lost continuity."""

import pytest
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from apps.tickets.models import Project, Ticket
from pillarbox.capture.announce import announce
from pillarbox.models import NotificationOutbox, Stream
from pillarbox.relay.relay import Relay
from tests.communicators import (
    collection,
    drain,
    in_thread,
    rename,
    subject,
)
from tests.journeys.protocol.clients import OWN

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestNotifications:
    async def test_on_the_object_and_in_the_collection(self, enter, demo, project, ticket):
        """
        A change has one event_id. Each stream has its own positions; the frame of the collection names it.
        """
        async with enter(demo) as client:
            answers = [await client.ask(about) for about in (subject(ticket), collection(project))]
            await rename(ticket, "Changed")
            frames = [await client.receive() for _ in range(2)]
            frames.sort(key=lambda frame: "subscription" in frame)
            for answer, frame in zip(answers, frames, strict=True):
                assert ("UPDATE_TICKET", "Changed") == (frame["type"], frame["payload"]["title"])
                assert subject(ticket).items() <= frame.items()
                assert (answer["epoch"], answer["offset"] + 1) == (frame["epoch"], frame["offset"])
            assert collection(project) == frames[1]["subscription"]
            assert frames[0]["event_id"] == frames[1]["event_id"]

            added = await in_thread(Ticket.objects.create, project=project, title="New")
            await drain()
            frame = await client.receive()
            assert ("CREATE_TICKET", subject(added)["id"]) == (frame["type"], frame["id"])

    async def test_on_the_users_own_stream(self, enter, demo, other):
        """
        A user's notification reaches only that user, and no other subscriber of ``me``.
        """

        def announce_to(user, number):
            with transaction.atomic():
                announce(user, "EXPORT_DONE", {"number": number})

        async with enter(demo) as client:
            await client.ask(OWN)
            await in_thread(announce_to, other, 1)
            await in_thread(announce_to, demo, 2)
            await drain()
            frame = await client.receive()
        assert ("EXPORT_DONE", {"number": 2}, 1) == (
            frame["type"],
            frame["payload"],
            frame["offset"],
        )
        assert OWN.items() <= frame.items()

    async def test_a_failed_row_is_skipped(self, enter, demo, project, ticket):
        """
        A failed row's offset is sent without its payload, on the object's stream and on the collection's.
        """

        def fail():
            # In the same transaction, because Daphne could render and send a committed row.
            with transaction.atomic():
                Ticket.objects.filter(pk=ticket.pk).update(title="Never shown")
                rows = NotificationOutbox.objects.filter(object_type="ticket", offset=None)
                assert 2 == rows.update(failed_at=Now(), error_type="ValueError")

        async with enter(demo) as client:
            answers = [await client.ask(about) for about in (subject(ticket), collection(project))]
            await in_thread(fail)
            await drain()
            frames = [await client.receive() for _ in range(2)]
            frames.sort(key=lambda frame: "subscription" in frame)
        for answer, frame in zip(answers, frames, strict=True):
            assert ("skipped", answer["offset"] + 1) == (frame["type"], frame["offset"])
        assert collection(project) == frames[1]["subscription"]


class TestResynced:
    """Tests of sockets that lose continuity: they receive the reason, and continue from the present state."""

    async def test_pruned(self, enter, demo, ticket):
        """
        A row after the position is missing, as if it had been pruned.
        """
        async with enter(demo) as client:
            await client.ask(subject(ticket))
            await in_thread(_lose, ticket)
            frame = await client.receive()
            assert ("resynced", "pruned", 2) == (frame["type"], frame["reason"], frame["offset"])
            assert "Lost" == frame["payload"]["title"]
            await rename(ticket, "After")
            assert 3 == (await client.receive())["offset"]

    async def test_another_epoch(self, enter, demo, project, ticket):
        """
        The stream has another epoch, as after a restore. All objects of a collection are sent in pages,
        without a ref.
        """
        for title in "ab":
            await in_thread(Ticket.objects.create, project=project, title=title)
        await drain()
        async with enter(demo) as client:
            before = await client.ask(collection(project))
            await in_thread(Stream.objects.filter(name__startswith="project.tickets:").delete)
            frame, *pages = [await client.receive() for _ in range(3)]
        assert {
            "type": "resynced",
            **collection(project),
            "epoch": frame["epoch"],
            "offset": 0,
            "reason": "epoch",
        } == frame
        assert before["epoch"] != frame["epoch"]
        assert [False, True] == [page["done"] for page in pages]
        assert not {"ref", "index"} & set(pages[0])

    async def test_moved(self, enter, demo, ticket):
        """
        The object moved to another project, whose members may see it now. The user is one of them.
        """
        elsewhere = await in_thread(Project.objects.create, name="Elsewhere")
        await in_thread(elsewhere.members.add, demo)
        async with enter(demo) as client:
            await client.ask(subject(ticket))
            ticket.project = elsewhere
            await rename(ticket, "Moved")
            frame = await client.receive()
        assert ("resynced", "moved", "Moved") == (
            frame["type"],
            frame["reason"],
            frame["payload"]["title"],
        )

    async def test_without_the_right_meanwhile(self, enter, demo, project, ticket):
        """
        A change committed while the user had no right is not sent, even after the right is back: the client
        is resynced instead.
        """

        def take_and_give_back():
            project.members.remove(demo)
            Ticket.objects.filter(pk=ticket.pk).update(title="Secret")
            project.members.add(demo)

        async with enter(demo) as client:
            await client.ask(subject(ticket))
            await in_thread(take_and_give_back)
            await drain()
            frame = await client.receive()
        assert ("resynced", "rights") == (frame["type"], frame["reason"])


def _lose(ticket):
    """Change a ticket and delete its row, so that an offset is missing from its stream."""
    with transaction.atomic():
        ticket.title = "Lost"
        ticket.save()
        stream = f"ticket:{ticket.pk}"
        NotificationOutbox.objects.filter(stream=stream, offset=None).delete()
        Stream.objects.filter(name=stream).update(head=F("head") + 1)
    with Relay(using="default") as relay:
        relay.drain()
