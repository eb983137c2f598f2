"""Tests of catch-up: lost messages are read from the database, or the client is resynced."""

import datetime

import pytest
from channels.layers import get_channel_layer
from django.db.models.functions import Now

from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from pillarbox.capture.announce import announce
from pillarbox.layer.envelope import envelope
from pillarbox.models import NotificationOutbox, Stream
from pillarbox.stream import history
from pillarbox.types.groups import group_for
from tests.communicators import (
    collection,
    database_away,
    drain,
    in_thread,
    lose,
    registered,
    rename,
    signed_in,
    subject,
    write,
)
from tests.rendering import number_all
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class Unrenderable(TicketType):
    """A type of tickets whose payload can't be rendered."""

    def payload(self, instance):
        raise ZeroDivisionError


class TestCatchUp:
    async def test_a_gap_is_filled_from_the_database(self, settings, demo, ticket):
        """
        Lost notifications are sent before the one that reveals the gap.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            for title in ("one", "two"):
                await write(ticket, title)
                await lose(settings)
            await rename(ticket, "three")
            frames = [await socket.receive() for _ in range(3)]
            assert [2, 3, 4] == [frame["offset"] for frame in frames]
            assert ["one", "two", "three"] == [frame["payload"]["title"] for frame in frames]
            assert await socket.received_nothing(demo)

    async def test_any_order_loss_and_repetition(self, demo, ticket, settings):
        """
        Whatever the layer does to the messages, each offset is sent once, in order.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"CATCH_UP_ROWS": 2}
        layer = get_channel_layer()
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            for title in "abcdefg":
                await write(ticket, title)
            await lose(settings)
            rows = await in_thread(history.after, f"ticket:{ticket.pk}", 1, 100, using="default")
            messages = {row.offset: envelope(row) for row in rows}
            for offset in (2, 5, 3, 5, 2, 8, 7):
                await layer.group_send(group_for(f"ticket:{ticket.pk}"), messages[offset])
            frames = [await socket.receive() for _ in range(7)]
            assert list(range(2, 9)) == [frame["offset"] for frame in frames]
            assert await socket.received_nothing(demo)

    async def test_too_large_a_frame_is_read_from_the_database(self, demo, ticket, settings):
        """
        An envelope without a frame has sockets read the database.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"FRAME_BYTES": 10}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await rename(ticket, "Large")
            assert "Large" == (await socket.receive())["payload"]["title"]

    async def test_a_socket_that_is_behind_catches_up(self, settings, demo, ticket):
        """
        If the layer may have lost messages, positions are compared, so even a lost last message is found.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Lost")
            await lose(settings)
            await get_channel_layer().group_send(
                group_for(f"ticket:{ticket.pk}"), {"type": "behind"}
            )
            assert "Lost" == (await socket.receive())["payload"]["title"]

    async def test_a_failed_row_is_skipped(self, demo, ticket, settings):
        """
        The offset of a failed row is sent as skipped, without a payload.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Poison")
            await in_thread(number_all)
            await in_thread(NotificationOutbox.objects.update, object_id="1x")
            await in_thread(NotificationOutbox.objects.update, object_type="ghost", object_id="1")
            await drain()
            await rename(ticket, "Next")
            frames = [await socket.receive() for _ in range(2)]
        assert [("skipped", 2), ("UPDATE_TICKET", 3)] == [
            (frame["type"], frame["offset"]) for frame in frames
        ]
        assert "payload" not in frames[0]

    async def test_a_pending_row_is_waited_for(self, demo, ticket):
        """
        No later row is sent before a row that may still be published, which keeps the order.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Later")
            await in_thread(number_all)
            await in_thread(NotificationOutbox.objects.update, object_type="ghost")
            await drain()
            await get_channel_layer().group_send(
                group_for(f"ticket:{ticket.pk}"), {"type": "behind"}
            )
            assert await socket.received_nothing(demo)
            await in_thread(NotificationOutbox.objects.update, object_type="ticket")
            await get_channel_layer().group_send(
                group_for(f"ticket:{ticket.pk}"), {"type": "behind"}
            )
            assert "Later" == (await socket.receive())["payload"]["title"]

    async def test_a_row_that_cannot_be_rendered_is_skipped(self, demo, ticket, settings):
        """
        Once the row has failed, its offset is sent without a payload, and later rows follow.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            with registered(Unrenderable):
                await rename(ticket, "Poison")
            await rename(ticket, "Next")
            frames = [await socket.receive() for _ in range(2)]
        assert [("skipped", 2), ("UPDATE_TICKET", 3)] == [
            (frame["type"], frame["offset"]) for frame in frames
        ]
        assert "payload" not in frames[0]

    async def test_a_row_that_cannot_be_rendered_yet_is_waited_for(self, settings, demo, ticket):
        """
        Rows with a payload wait behind it, too. The drain ends, and other streams are published.
        """
        never = {"BACKOFF_BASE_SECONDS": 1000, "BACKOFF_CEILING_SECONDS": 1000}
        settings.PILLARBOX = settings.PILLARBOX | never
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            with registered(Unrenderable):
                await rename(ticket, "Later")
            await in_thread(announce, ticket, "EXPORT_DONE", {})
            await drain()
            assert await socket.received_nothing(demo)
            await in_thread(NotificationOutbox.objects.update, available_at=Now())
            await drain()
            frames = [await socket.receive() for _ in range(2)]
        assert [("UPDATE_TICKET", 2), ("EXPORT_DONE", 3)] == [
            (frame["type"], frame["offset"]) for frame in frames
        ]

    async def test_a_row_that_killed_a_worker_is_waited_for(self, demo, ticket):
        """
        Loading such a row might kill this process, so it must be published, or fail, first.
        """
        behind = (group_for(f"ticket:{ticket.pk}"), {"type": "behind"})
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Deadly")
            await in_thread(number_all)
            later = Now() + datetime.timedelta(hours=1)
            await in_thread(NotificationOutbox.objects.update, claims=1, available_at=later)
            await get_channel_layer().group_send(*behind)
            assert await socket.received_nothing(demo)
            await in_thread(NotificationOutbox.objects.update, published_at=Now())
            await get_channel_layer().group_send(*behind)
            assert "Deadly" == (await socket.receive())["payload"]["title"]

    async def test_with_the_database_away_a_later_catch_up_sends_it(
        self, settings, demo, ticket, caplog
    ):
        """
        A catch-up that fails loses nothing.
        """
        group = group_for(f"ticket:{ticket.pk}")
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Late")
            await lose(settings)
            async with database_away():
                await get_channel_layer().group_send(group, {"type": "behind"})
                await until(lambda: "The database is away" in caplog.text)
                assert await socket.answers()
            await get_channel_layer().group_send(group, {"type": "behind"})
            assert "Late" == (await socket.receive())["payload"]["title"]

    async def test_a_missed_deletion_ends_the_subscription(self, settings, demo, ticket):
        """
        The deletion is the last notification that is sent.
        """
        about, group = subject(ticket), group_for(f"ticket:{ticket.pk}")
        async with signed_in(demo) as socket:
            await socket.ask(about)
            await write(ticket, "Last")
            await in_thread(number_all)
            await in_thread(ticket.delete)
            await lose(settings)
            await get_channel_layer().group_send(group, {"type": "behind"})
            frames = [await socket.receive() for _ in range(3)]
            assert ["UPDATE_TICKET", "DELETE_TICKET", "unsubscribed"] == [
                frame["type"] for frame in frames
            ]
            assert await socket.received_nothing(demo)

    async def test_a_change_of_a_deleted_object_is_skipped(self, demo, ticket):
        """
        If the object is gone when its change is rendered, the change has no payload.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Last")
            await in_thread(ticket.delete)
            await drain()
            frames = [await socket.receive() for _ in range(3)]
        assert ["skipped", "DELETE_TICKET", "unsubscribed"] == [frame["type"] for frame in frames]

    async def test_nothing_follows_a_deletion(self, settings, demo, ticket):
        """
        An object that is created with the same key is a different one.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            again = Ticket(pk=ticket.pk, project_id=ticket.project_id, title="Again")
            await in_thread(ticket.delete)
            await in_thread(again.save, force_insert=True)
            await lose(settings)
            await rename(again, "Changed")
            frames = [await socket.receive() for _ in range(2)]
            assert ["DELETE_TICKET", "unsubscribed"] == [frame["type"] for frame in frames]
            assert await socket.received_nothing(demo)

    async def test_other_streams_are_not_forwarded(self, demo, ticket):
        """
        A message of a stream without a subscription is dropped.
        """
        position = {"stream": "ticket:4711", "epoch": "", "offset": 1, "stamp": 0}
        message = {"type": "notification", **position}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await get_channel_layer().group_send(
                group_for(f"ticket:{ticket.pk}"), {**message, "frame": "{}", "ends": False}
            )
            assert await socket.received_nothing(demo)


class TestResync:
    @pytest.mark.parametrize("lost", [[2], [2, 3]])
    async def test_a_pruned_gap_is_a_resync(self, settings, demo, ticket, lost):
        """
        If missing rows are pruned, the client gets the reason and the present state.
        """
        group = group_for(f"ticket:{ticket.pk}")
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            for title in ("one", "two"):
                await write(ticket, title)
            await lose(settings)
            await in_thread(NotificationOutbox.objects.filter(offset__in=lost).delete)
            await get_channel_layer().group_send(group, {"type": "behind"})
            frame = await socket.receive()
            assert ("resynced", "pruned", 3) == (frame["type"], frame["reason"], frame["offset"])
            assert "two" == frame["payload"]["title"]
            await rename(ticket, "three")
            assert 4 == (await socket.receive())["offset"]

    async def test_another_epoch_is_a_resync(self, demo, project, ticket):
        """
        After a restore offsets have another meaning, so clients get the present state, also of collections.
        """
        async with signed_in(demo) as socket:
            before = [await socket.ask(about) for about in (subject(ticket), collection(project))]
            await in_thread(Stream.objects.all().delete)
            await in_thread(NotificationOutbox.objects.all().delete)
            await rename(ticket, "Restored")
            frames = [await socket.receive() for _ in range(3)]
        (page,) = [frame for frame in frames if frame["type"] == "snapshot"]
        frames.remove(page)
        assert {"epoch"} == {frame["reason"] for frame in frames}
        assert not {frame["epoch"] for frame in frames} & {frame["epoch"] for frame in before}
        payloads = {frame["object_type"]: frame.get("payload") for frame in frames}
        assert "Restored" == payloads["ticket"]["title"]
        assert payloads["project.tickets"] is None
        assert (["Restored"], True) == ([item["title"] for item in page["items"]], page["done"])

    async def test_a_resync_without_the_right_ends_the_subscription(self, demo, ticket, project):
        """
        The present state isn't sent to a user who may not see it.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(project.members.clear)
            await in_thread(Stream.objects.all().delete)
            await in_thread(NotificationOutbox.objects.all().delete)
            await rename(ticket, "Secret")
            frame = await socket.receive()
            assert ("unsubscribed", "revoked") == (frame["type"], frame["reason"])
            assert await socket.received_nothing(demo)

    async def test_the_present_state_is_plain_json(self, settings, demo, ticket):
        """
        It is rendered like the payload of a notification.
        """
        with registered(type("Dated", (TicketType,), {"payload": _dated})):
            async with signed_in(demo) as socket:
                await socket.ask(subject(ticket))
                await write(ticket, "one")
                await lose(settings)
                await in_thread(NotificationOutbox.objects.filter(offset=2).delete)
                group = group_for(f"ticket:{ticket.pk}")
                await get_channel_layer().group_send(group, {"type": "behind"})
                assert {"on": "2026-11-22"} == (await socket.receive())["payload"]


def _dated(self, instance):
    return {"on": datetime.date(2026, 11, 22)}
