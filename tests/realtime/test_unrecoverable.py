"""Positions that cannot be resumed from: nothing old follows, and the client is told."""

import pytest

from apps.outbox.models import NotificationOutbox, Stream
from apps.tickets.live import ProjectType
from apps.tickets.models import Project, Ticket
from tests.realtime.resuming import (
    missed,
    rename_project,
    where,
)
from tests.sockets import (
    collection,
    drain,
    in_thread,
    registered,
    rename,
    signed_in,
    subject,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestNotRecovered:
    """Nothing old follows; the answer has the present position, and the object as it is now."""

    async def refused(self, user, ticket, since):
        async with signed_in(user) as socket:
            answer = await socket.ask({**subject(ticket), "since": since, "ref": 7})
            await rename(ticket, "New")
            frame = await socket.receive()
            assert answer["offset"] + 1 == frame["offset"]
        assert ("subscribed", False, 7) == (answer["type"], answer["recovered"], answer["ref"])
        return answer

    async def test_pruned(self, demo, ticket):
        """
        One missing row is enough: never a part.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 3)
        rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}", offset=3)
        await in_thread(rows.delete)
        answer = await self.refused(demo, ticket, since)
        assert (4, "Number 2") == (answer["offset"], answer["payload"]["title"])

    async def test_beyond_the_head(self, demo, ticket):
        """
        An offset that was never given is no position.
        """
        since = await where(demo, subject(ticket))
        answer = await self.refused(demo, ticket, {**since, "offset": 99})
        assert 1 == answer["offset"]

    async def test_another_epoch(self, demo, ticket):
        """
        After a restore the offsets mean something else.
        """
        since = await where(demo, subject(ticket))
        await in_thread(Stream.objects.filter(name=f"ticket:{ticket.pk}").delete)
        answer = await self.refused(demo, ticket, since)
        assert since["epoch"] != answer["epoch"]

    async def test_across_a_move(self, demo, project, ticket):
        """
        What an object was where others may see it is not for those who see it now.
        """
        since = await where(demo, subject(ticket))
        secret = await in_thread(Project.objects.create, name="Secret")
        for owner, title in ((secret, "Hidden"), (project, "Back again")):
            ticket.project, ticket.title = owner, title
            await in_thread(ticket.save)
        await drain()
        answer = await self.refused(demo, ticket, since)
        assert "Back again" == answer["payload"]["title"]

    @pytest.mark.parametrize("about", [subject, collection])
    async def test_across_a_move_of_what_it_is_seen_through(self, demo, project, ticket, about):
        """
        A project that others saw before takes its tickets' history with it.
        """
        with registered(type("Named", (ProjectType,), {"deciding": ("name",)})):
            thing = about(ticket if about is subject else project)
            since = await where(demo, thing)
            await missed(ticket, 1)
            async with signed_in(demo) as socket:
                assert (await socket.ask({**thing, "since": since}))["recovered"]
            await in_thread(rename_project, project)
            await missed(ticket, 1)
            async with signed_in(demo) as socket:
                assert not (await socket.ask({**thing, "since": since}))["recovered"]
            since = await where(demo, thing)
            await missed(ticket, 1)
            async with signed_in(demo) as socket:
                assert (await socket.ask({**thing, "since": since}))["recovered"]

    async def test_a_collection_comes_in_pages(self, settings, demo, project, ticket):
        """
        In place of one payload, frames with its objects, the last one said to be it.
        """
        settings.REALTIME = settings.REALTIME | {"SNAPSHOT_ROWS": 2}
        for title in "abcd":
            await in_thread(Ticket.objects.create, project=project, title=title)
        await drain()
        async with signed_in(demo) as socket:
            since = {"epoch": "another", "offset": 1}
            answer = await socket.ask({**collection(project), "since": since, "ref": "x"})
            assert (False, 5) == (answer["recovered"], answer["offset"])
            pages = [await socket.receive() for _ in range(3)]
        for page in pages:
            assert {"type": "snapshot", "ref": "x", **collection(project)} == {
                key: page[key] for key in ("type", "ref", "object_type", "id")
            }
        assert [False, False, True] == [page["done"] for page in pages]
        titles = [item["title"] for page in pages for item in page["items"]]
        assert [ticket.title, *"abcd"] == titles

    @pytest.mark.parametrize("is_there", [True, False])
    async def test_what_cannot_be_seen_is_not_found(self, demo, other, ticket, is_there):
        """
        A position opens no door; a deleted object has no history.
        """
        since = await where(demo, subject(ticket))
        about = subject(ticket)
        await missed(ticket, 1)
        if not is_there:
            await in_thread(ticket.delete)
            await drain()
        async with signed_in(other if is_there else demo) as socket:
            answer = await socket.ask({**about, "since": since})
        assert ("error", "not_found") == (answer["type"], answer["code"])
