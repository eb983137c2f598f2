"""What comes of changes, and where continuity is lost."""

import pytest
from django.db import transaction
from django.db.models import F

from apps.outbox.models import NotificationOutbox, Stream
from apps.realtime.announce import announce
from apps.tickets.models import Project, Ticket
from tests.journeys.protocol.clients import OWN
from tests.sockets import (
    collection,
    drain,
    fail,
    in_thread,
    rename,
    subject,
)
from workers.relay import Relay

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestNotifications:
    async def test_on_the_object_and_in_the_collection(self, enter, demo, project, ticket):
        """
        One change, one event_id; each stream has its own positions, and the collection's says its name.
        """
        async with enter(demo) as client:
            stands = [await client.ask(about) for about in (subject(ticket), collection(project))]
            await rename(ticket, "Changed")
            frames = [await client.receive() for _ in range(2)]
            frames.sort(key=lambda frame: "subscription" in frame)
            for stand, frame in zip(stands, frames, strict=True):
                assert ("UPDATE_TICKET", "Changed") == (frame["type"], frame["payload"]["title"])
                assert subject(ticket).items() <= frame.items()
                assert (stand["epoch"], stand["offset"] + 1) == (frame["epoch"], frame["offset"])
            assert collection(project) == frames[1]["subscription"]
            assert frames[0]["event_id"] == frames[1]["event_id"]

            added = await in_thread(Ticket.objects.create, project=project, title="New")
            await drain()
            frame = await client.receive()
            assert ("CREATE_TICKET", subject(added)["id"]) == (frame["type"], frame["id"])

    async def test_on_the_users_own_stream(self, enter, demo, other):
        """
        What is announced to a user reaches that user, and nobody else who subscribes to ``me``.
        """

        def tell(user, number):
            with transaction.atomic():
                announce(user, "EXPORT_DONE", {"number": number})

        async with enter(demo) as client:
            await client.ask(OWN)
            await in_thread(tell, other, 1)
            await in_thread(tell, demo, 2)
            await drain()
            frame = await client.receive()
        assert ("EXPORT_DONE", {"number": 2}, 1) == (
            frame["type"],
            frame["payload"],
            frame["offset"],
        )
        assert OWN.items() <= frame.items()

    async def test_a_failed_row_is_skipped(self, settings, enter, demo, project, ticket):
        """
        Its offset comes without what is in it, on the object's stream and on the collection's.
        """
        settings.OUTBOX = {**settings.OUTBOX, "MAX_ATTEMPTS": 1}
        async with enter(demo) as client:
            stands = [await client.ask(about) for about in (subject(ticket), collection(project))]
            await in_thread(fail, ticket, "Never shown")
            frames = [await client.receive() for _ in range(2)]
            frames.sort(key=lambda frame: "subscription" in frame)
        for stand, frame in zip(stands, frames, strict=True):
            assert ("skipped", stand["offset"] + 1) == (frame["type"], frame["offset"])
        assert collection(project) == frames[1]["subscription"]


class TestResynced:
    """Continuity is lost on a socket that is there: it is told why, and goes on from the present."""

    async def test_pruned(self, enter, demo, ticket):
        """
        What lies between is no longer kept.
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
        After a restore; of a collection all objects come, in pages that answer nothing.
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
        The object went to where others may see it.
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


def _lose(ticket):
    """Change a ticket; nobody can ever see how, only that there was something."""
    with transaction.atomic():
        ticket.title = "Lost"
        ticket.save()
        stream = f"ticket:{ticket.pk}"
        NotificationOutbox.objects.filter(stream=stream, offset=None).delete()
        Stream.objects.filter(name=stream).update(head=F("head") + 1)
    with Relay(using="default") as relay:
        relay.drain()
