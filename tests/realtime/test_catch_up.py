"""What the channel layer lost is read from the database, or the client is told that it can't be."""

import datetime

import pytest
from channels.layers import get_channel_layer
from django.db.models.functions import Now

from apps.outbox import history
from apps.outbox.models import NotificationOutbox, Stream
from apps.realtime.envelope import envelope
from apps.realtime.groups import group_for
from apps.realtime.registry import register, unregister
from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from tests.law import number_all
from tests.sockets import (
    collection,
    database_away,
    drain,
    in_thread,
    lose,
    rename,
    signed_in,
    subject,
    write,
)
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestCatchUp:
    async def test_a_gap_is_filled_from_the_database(self, settings, demo, ticket):
        """
        What the channel layer lost is sent before what comes after it.
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
            assert await socket.silent(demo)

    async def test_any_order_loss_and_repetition(self, demo, ticket, settings):
        """
        Whatever the layer does to the messages, each offset comes once, in order.
        """
        settings.REALTIME = settings.REALTIME | {"CATCH_UP_ROWS": 2}
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
            assert await socket.silent(demo)

    async def test_too_large_a_frame_is_read_from_the_database(self, demo, ticket, settings):
        """
        A hint brings the notification all the same.
        """
        settings.REALTIME = settings.REALTIME | {"FRAME_BYTES": 10}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await rename(ticket, "Large")
            assert "Large" == (await socket.receive())["payload"]["title"]

    async def test_behind_means_look(self, settings, demo, ticket):
        """
        When the layer may have lost something, the database is asked: also for the last message.
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
        The offset of a row that failed comes as skipped, without its payload.
        """
        settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Poison")
            await in_thread(NotificationOutbox.objects.update, object_id="1x")
            await in_thread(NotificationOutbox.objects.update, object_type="ghost", object_id="1")
            await drain()
            await rename(ticket, "Next")
            frames = [await socket.receive() for _ in range(2)]
        assert [("skipped", 2), ("UPDATE_TICKET", 3)] == [
            (frame["type"], frame["offset"]) for frame in frames
        ]
        assert "payload" not in frames[0]

    async def test_a_row_that_cannot_be_shown_yet_is_waited_for(self, demo, ticket):
        """
        Behind a row that may still be published nothing is sent: order is kept.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Later")
            await in_thread(NotificationOutbox.objects.update, object_type="ghost")
            await drain()
            await get_channel_layer().group_send(
                group_for(f"ticket:{ticket.pk}"), {"type": "behind"}
            )
            assert await socket.silent(demo)
            await in_thread(NotificationOutbox.objects.update, object_type="ticket")
            await get_channel_layer().group_send(
                group_for(f"ticket:{ticket.pk}"), {"type": "behind"}
            )
            assert "Later" == (await socket.receive())["payload"]["title"]

    async def test_a_row_that_workers_die_of_never_reaches_a_socket(self, demo, ticket):
        """
        What may kill whoever loads it is not loaded here: it is published first, or fails.
        """
        behind = (group_for(f"ticket:{ticket.pk}"), {"type": "behind"})
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Deadly")
            await in_thread(number_all)
            later = Now() + datetime.timedelta(hours=1)
            await in_thread(NotificationOutbox.objects.update, claims=1, available_at=later)
            await get_channel_layer().group_send(*behind)
            assert await socket.silent(demo)
            await in_thread(NotificationOutbox.objects.update, published_at=Now())
            await get_channel_layer().group_send(*behind)
            assert "Deadly" == (await socket.receive())["payload"]["title"]

    async def test_with_the_database_away_it_waits_for_the_next_occasion(
        self, settings, demo, ticket, caplog
    ):
        """
        A catch-up that fails loses nothing: the next one sends it.
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

    async def test_a_deletion_in_the_gap_is_the_end(self, settings, demo, ticket):
        """
        A missed deletion comes as the last notification, whatever else is asked for.
        """
        about, group = subject(ticket), group_for(f"ticket:{ticket.pk}")
        async with signed_in(demo) as socket:
            await socket.ask(about)
            await write(ticket, "Last")
            await in_thread(ticket.delete)
            await lose(settings)
            await get_channel_layer().group_send(group, {"type": "behind"})
            frames = [await socket.receive() for _ in range(3)]
            assert ["UPDATE_TICKET", "DELETE_TICKET", "unsubscribed"] == [
                frame["type"] for frame in frames
            ]
            assert await socket.silent(demo)

    async def test_after_the_end_nothing_follows(self, settings, demo, ticket):
        """
        An object that is created again under its key is another one.
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
            assert await socket.silent(demo)

    async def test_what_is_not_subscribed_to_is_not_forwarded(self, demo, ticket):
        """
        A message for a stream that this socket doesn't follow, or no longer, goes nowhere.
        """
        message = {"type": "notification", "stream": "ticket:4711", "epoch": "", "offset": 1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await get_channel_layer().group_send(
                group_for(f"ticket:{ticket.pk}"), {**message, "frame": "{}", "ends": False}
            )
            assert await socket.silent(demo)


class TestResync:
    @pytest.mark.parametrize("lost", [[2], [2, 3]])
    async def test_a_pruned_gap_is_said(self, settings, demo, ticket, lost):
        """
        If what is missing is no longer kept, the client gets the present state and is told why.
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

    async def test_another_epoch_is_said(self, demo, project, ticket):
        """
        After a restore the offsets mean something else: the client starts anew, collections included.
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

    async def test_what_may_no_longer_be_seen_ends(self, demo, ticket, project):
        """
        Where the present state would be due, but isn't the user's to see, the subscription ends.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(project.members.clear)
            await in_thread(Stream.objects.all().delete)
            await in_thread(NotificationOutbox.objects.all().delete)
            await rename(ticket, "Secret")
            frame = await socket.receive()
            assert ("unsubscribed", "revoked") == (frame["type"], frame["reason"])
            assert await socket.silent(demo)

    async def test_with_what_the_serializer_makes_of_it(self, settings, demo, ticket):
        """
        The present state is plain JSON, as a notification's payload is.
        """
        kind = type("Dated", (TicketType,), {"payload": _dated})
        unregister("ticket")
        register(kind)
        try:
            async with signed_in(demo) as socket:
                await socket.ask(subject(ticket))
                await write(ticket, "one")
                await lose(settings)
                await in_thread(NotificationOutbox.objects.filter(offset=2).delete)
                group = group_for(f"ticket:{ticket.pk}")
                await get_channel_layer().group_send(group, {"type": "behind"})
                assert {"on": "2026-11-22"} == (await socket.receive())["payload"]
        finally:
            unregister("ticket")
            register(TicketType)


def _dated(self, instance):
    return {"on": datetime.date(2026, 11, 22)}
