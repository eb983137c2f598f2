"""Tests with the kit, as a project writes them, for a test case that rolls back and for one that commits."""

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import transaction

from apps.tickets.models import Project, Ticket
from pillarbox.live import announce, muted, rights_changed
from pillarbox.models import NotificationOutbox
from pillarbox.testing import (
    ClientCommandError,
    NotDrainedError,
    SocketClosedError,
    announced,
    drain,
    follow,
    socket,
)
from pillarbox.types import hashids
from tests.library.models import Item, Shelf, Tag


def user(name):
    return get_user_model().objects.create_user(name)


def events(notifications):
    """Return stream and event of notifications; a change's order of streams is no promise."""
    return sorted((one.stream, one.event) for one in notifications)


class Stories:
    """Tests that hold in a TestCase and in a TransactionTestCase."""

    def setUp(self):
        self.member, self.stranger = user("member"), user("stranger")
        self.project = Project.objects.create(name="Website")
        self.project.members.add(self.member)
        self.ticket = Ticket.objects.create(project=self.project, title="The logo is blurred")
        self.streams = [f"project.tickets:{self.project.pk}", f"ticket:{self.ticket.pk}"]

    def rename(self, title):
        self.ticket.title = title
        self.ticket.save()

    # What is announced

    def test_a_save_is_announced(self):
        """
        A changed object is announced on its stream and its collection's, with the payload.
        """
        with announced() as found:
            self.rename("Sharper")
            assert [] == found
        assert [(stream, "UPDATE_TICKET") for stream in self.streams] == events(found)
        public_id = hashids.encode("ticket", self.ticket.pk)
        assert {("ticket", public_id, "Sharper")} == {
            (one.object_type, one.id, one.payload["title"]) for one in found
        }

    def test_nothing_is_announced(self):
        """
        A save that changes nothing, a muted one and one that is rolled back are not found.
        """
        with announced() as found:
            self.ticket.save()
            with muted():
                self.rename("Quiet")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                self.rename("Undone")
                raise ZeroDivisionError
        assert [] == found

    def test_a_block_that_raises_announces_nothing(self):
        """
        The error leaves the block, and the list stays empty.
        """
        with pytest.raises(ZeroDivisionError), announced() as found:
            self.rename("Sharper")
            raise ZeroDivisionError
        assert [] == found

    def test_a_deletion_is_announced(self):
        """
        A deleted object is announced with its id alone.
        """
        with announced() as found:
            self.ticket.delete()
        assert [(stream, "DELETE_TICKET") for stream in self.streams] == events(found)
        assert [{"id": found[0].id}] * 2 == [one.payload for one in found]

    def test_an_announcement_of_code_is_found(self):
        """
        An event that code announces is found; the end of a right is not.
        """
        with announced() as found:
            announce(self.member, "EXPORT_DONE", {"rows": 3})
            rights_changed(self.member)
        assert [(f"me:{self.member.pk}", "EXPORT_DONE", "me", "me", {"rows": 3})] == found

    def test_each_block_is_a_change_of_its_own(self):
        """
        A block finds what its own changes announce of an object that shows them: neither more, as what was
        pending, nor less, as if one transaction had announced it before.
        """
        shelf = Shelf.objects.create(name="Left")
        item = Item.objects.create(title="Atlas", shelf=shelf)
        first, *others = (Tag.objects.create(name=name) for name in ("old", "large", "rare"))
        item.tags.add(first)
        with announced() as found:
            pass
        assert [] == found
        for tag in others:
            with announced() as found:
                item.tags.add(tag)
            assert (f"shelf:{shelf.pk}", "UPDATE_SHELF") in events(found)

    # Draining

    def test_a_drain_publishes(self):
        """
        After a drain each row has an offset and a payload, and is published.
        """
        self.rename("Sharper")
        drain()
        rows = NotificationOutbox.objects.filter(stream=f"ticket:{self.ticket.pk}").order_by("id")
        assert [("CREATE_TICKET", 1, "published"), ("UPDATE_TICKET", 2, "published")] == [
            (row.event, row.offset, row.state) for row in rows
        ]

    def test_an_open_block_is_not_drained(self):
        """
        A drain in an atomic block of the test is refused, because the block may still be rolled back.
        """
        with (
            pytest.raises(NotDrainedError, match="Leave it before you drain"),
            transaction.atomic(),
        ):
            drain()

    # Following

    def test_a_member_follows(self):
        """
        A follower reads each notification once, in order, as a socket would be sent it.
        """
        follower = follow(self.ticket, self.member)
        assert "The logo is blurred" == follower.payload["title"]
        assert [] == follower.read()
        self.rename("One")
        drain()
        self.rename("Two")
        assert [("UPDATE_TICKET", 2, "One"), ("UPDATE_TICKET", 3, "Two")] == [
            (frame["type"], frame["offset"], frame["payload"]["title"]) for frame in follower.read()
        ]
        assert [] == follower.read()

    def test_a_stranger_does_not_follow(self):
        """
        A stranger is refused, as an object is that doesn't exist.
        """
        with pytest.raises(ClientCommandError) as refused:
            follow(self.ticket, self.stranger)
        assert "not_found" == refused.value.code

    def test_a_removed_member_reads_no_more(self):
        """
        A follower whose user may not see the object any more is sent that and nothing else.
        """
        follower = follow(self.ticket, self.member)
        self.project.members.remove(self.member)
        self.rename("Secret")
        assert [("unsubscribed", "revoked")] == [
            (frame["type"], frame["reason"]) for frame in follower.read()
        ]
        assert [] == follower.read()

    def test_a_deleted_object_ends_its_follower(self):
        """
        The deletion is read, then the end.
        """
        follower = follow(self.ticket, self.member)
        self.ticket.delete()
        assert ["DELETE_TICKET", "unsubscribed"] == [one["type"] for one in follower.read()]

    def test_a_collection_is_followed_until_its_owner_is_deleted(self):
        """
        A collection has no payload of its own; its follower reads its objects' notifications and its end.
        """
        follower = follow(self.project, self.member, object_type="project.tickets")
        assert follower.payload is None
        Ticket.objects.create(project=self.project, title="New")
        assert ["CREATE_TICKET"] == [frame["type"] for frame in follower.read()]
        self.project.delete()
        assert {"type": "unsubscribed", "reason": "deleted"}.items() <= follower.read()[-1].items()

    def test_a_moved_object_is_read_anew(self):
        """
        After a move the follower is sent the present state, as a socket is.
        """
        other = Project.objects.create(name="App")
        other.members.add(self.member)
        follower = follow(self.ticket, self.member)
        self.ticket.project = other
        self.ticket.save()
        assert [("resynced", "moved")] == [(one["type"], one["reason"]) for one in follower.read()]

    def test_a_moved_and_deleted_object_ends_its_follower(self):
        """
        Nobody is sent the present state of an object that is gone.
        """
        other = Project.objects.create(name="App")
        follower = follow(self.ticket, self.member)
        self.ticket.project = other
        self.ticket.save()
        self.ticket.delete()
        assert ["unsubscribed"] == [one["type"] for one in follower.read()]

    def test_a_user_follows_announcements_to_the_user(self):
        """
        A user's own stream needs no name.
        """
        follower = follow(self.member, self.member)
        announce(self.member, "EXPORT_DONE", {"rows": 3})
        assert [{"rows": 3}] == [frame["payload"] for frame in follower.read()]

    # Sockets

    async def test_a_member_is_sent_changes(self):
        """
        A subscribed socket is sent the present state, then each change.
        """
        async with socket(self.member) as member:
            assert "member" == member.hello["user"]
            answer = await member.subscribe(self.ticket, snapshot=True)
            assert "The logo is blurred" == answer["payload"]["title"]
            for title in ("One", "Two"):
                await sync_to_async(self.rename)(title)
                frame = await member.receive()
                assert ("UPDATE_TICKET", title) == (frame["type"], frame["payload"]["title"])

    async def test_a_stranger_is_refused(self):
        """
        A stranger's subscription is refused, and the socket goes on.
        """
        async with socket(self.stranger) as stranger:
            with pytest.raises(ClientCommandError, match="may not see it"):
                await stranger.subscribe(self.ticket)
            await stranger.send({"action": "ping"})
            assert {"type": "pong"} == await stranger.receive()

    async def test_frames_before_an_answer_are_kept(self):
        """
        A change that arrives before the answer of a command is received after it.
        """
        async with socket(self.member) as member:
            await member.subscribe(self.ticket)
            await sync_to_async(self.rename)("Sharper")
            await sync_to_async(drain)()
            await member.subscribe(self.project, object_type="project.tickets")
            assert "UPDATE_TICKET" == (await member.receive())["type"]
            ended = await member.unsubscribe(self.project, object_type="project.tickets")
            assert "requested" == ended["reason"]

    async def test_a_frame_that_does_not_arrive_ends_the_wait(self):
        """
        The error of a test leaves the block of the socket as it is.
        """
        with pytest.raises(TimeoutError):
            async with socket(self.member) as member:
                await member.receive(seconds=0)

    async def test_two_sockets_are_sent_the_same(self):
        """
        Sockets of one test share the channel layer.
        """
        async with socket(self.member) as first, socket(self.member) as second:
            for one in (first, second):
                await one.subscribe(self.ticket)
            await sync_to_async(self.rename)("Sharper")
            assert await first.receive() == await second.receive()

    async def test_a_lost_right_ends_a_subscription(self):
        """
        A removed member's subscription ends, and a remaining right goes on being served.
        """
        await sync_to_async(self.project.members.add)(self.stranger)
        async with socket(self.member) as member, socket(self.stranger) as other:
            await member.subscribe(self.ticket)
            await other.subscribe(self.ticket)
            await sync_to_async(self.project.members.remove)(self.member)
            assert "revoked" == (await member.receive())["reason"]
            await sync_to_async(self.rename)("Sharper")
            assert "UPDATE_TICKET" == (await other.receive())["type"]

    async def test_a_deactivated_user_is_signed_out(self):
        """
        The server closes the socket of a user who may not sign in any more.
        """
        async with socket(self.member) as member:
            self.member.is_active = False
            await sync_to_async(self.member.save)()
            with pytest.raises(SocketClosedError) as closed:
                await member.receive()
        assert 4401 == closed.value.code

    async def test_what_a_block_of_an_async_test_announces(self):
        """
        The block is also asynchronous.
        """
        async with announced() as found:
            await sync_to_async(self.rename)("Sharper")
        assert [(stream, "UPDATE_TICKET") for stream in self.streams] == events(found)
