"""Tests of positions that can't be resumed from: no old notification follows, and the client is told."""

import pytest

from apps.tickets.live import ProjectType
from apps.tickets.models import Project, Ticket
from pillarbox.models import NotificationOutbox, Stream
from tests.communicators import (
    collection,
    drain,
    in_thread,
    rename,
    signed_in,
    subject,
)
from tests.registration import registered
from tests.sockets.resuming import (
    missed,
    rename_project,
    where,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


@pytest.fixture
def named_projects(published):
    """Register a type of projects whose name decides who may see them."""
    with registered(type("Named", (ProjectType,), {"visibility_fields": ("name",)})):
        yield


def _use_keys_again(project, ticket, user):
    pk, ticket_pk = project.pk, ticket.pk
    project.delete()
    another = Project.objects.create(pk=pk, name="Another")
    another.members.add(user)
    Ticket.objects.create(pk=ticket_pk, project=another, title="Another")


class TestNotRecovered:
    """Tests of answers with the present position and state, after which only new notifications follow."""

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
        One missing row is enough: the history is sent whole, or not at all.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 3)
        rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}", offset=3)
        await in_thread(rows.delete)
        answer = await self.refused(demo, ticket, since)
        assert (4, "Number 2") == (answer["offset"], answer["payload"]["title"])

    async def test_beyond_the_head(self, demo, ticket):
        """
        An offset that doesn't exist yet is no position.
        """
        since = await where(demo, subject(ticket))
        answer = await self.refused(demo, ticket, {**since, "offset": 99})
        assert 1 == answer["offset"]

    async def test_another_epoch(self, demo, ticket):
        """
        After a restore offsets have another meaning.
        """
        since = await where(demo, subject(ticket))
        await in_thread(Stream.objects.filter(name=f"ticket:{ticket.pk}").delete)
        answer = await self.refused(demo, ticket, since)
        assert since["epoch"] != answer["epoch"]

    async def test_across_a_move(self, demo, project, ticket):
        """
        Users who may see an object now may not see what it was where others could see it.
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
    async def test_across_a_move_of_the_owner(self, named_projects, demo, project, ticket, about):
        """
        After a move of a project, the earlier history of its tickets isn't shown.
        """
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

    @pytest.mark.parametrize("what", ["project", "collection", "ticket"])
    async def test_across_a_deletion_of_the_same_key(self, demo, other, project, ticket, what):
        """
        A member of a new project with a deleted one's key isn't shown the deleted one's history.
        """
        about = {
            "project": {**collection(project), "object_type": "project"},
            "collection": collection(project),
            "ticket": subject(ticket),
        }[what]
        epoch = (await where(demo, about))["epoch"]
        await missed(ticket, 2)
        await in_thread(_use_keys_again, project, ticket, other)
        await drain()
        async with signed_in(other) as socket:
            answer = await socket.ask({**about, "since": {"epoch": epoch, "offset": 0}})
            assert (epoch, False) == (answer["epoch"], answer["recovered"])
            assert await socket.answers() or what == "collection"

    async def test_a_collection_comes_in_pages(self, settings, demo, project, ticket):
        """
        A collection's present state is sent in frames with its objects, the last of which is marked.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SNAPSHOT_ROWS": 2}
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
    async def test_an_invisible_or_deleted_object_is_not_found(self, demo, other, ticket, is_there):
        """
        A position gives no access, and a deleted object has no history.
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
