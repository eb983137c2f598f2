"""Tests of the metrics of sockets."""

import asyncio
import logging
import threading

import pytest
from channels.layers import get_channel_layer

from pillarbox.layer.layers import BEHIND, layer_health
from pillarbox.layer.queue import Queue
from pillarbox.models import NotificationOutbox
from pillarbox.sockets.database import in_database, reads_waiting
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.types.groups import group_for
from tests.communicators import (
    check_twice,
    collection,
    in_thread,
    lose,
    rename,
    signed_in,
    subject,
    write,
)
from tests.metrics import Metric
from tests.waiting import PATIENCE, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


def catch_ups(cause):
    return Metric("notifier_catch_ups_total", cause=cause)


async def test_open_sockets_and_subscriptions_are_counted(demo, ticket, project):
    """
    The gauges follow connections and disconnections.
    """
    sockets, subscriptions = Metric("notifier_sockets"), Metric("notifier_subscriptions")
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await socket.ask(collection(project))
        assert (1, 2) == (sockets.grown, subscriptions.grown)
    assert (-1, -2) == (sockets.grown, subscriptions.grown)


async def test_each_delivery_counts_and_each_envelope_has_one_age(demo, ticket, caplog):
    """
    Two sockets of one stream make two deliveries of one envelope, whose delay counts once. The log has a
    line.
    """
    deliveries = Metric("notifier_deliveries_total")
    delays = Metric("notifier_delivery_delay_seconds_count")
    async with signed_in(demo) as one, signed_in(demo) as other:
        for socket in (one, other):
            await socket.ask(subject(ticket))
        with caplog.at_level(logging.DEBUG, "pillarbox"):
            await rename(ticket, "Changed")
            frames = [await socket.receive() for socket in (one, other)]
            await until(
                lambda: any(hasattr(record, "pillarbox_event_id") for record in caplog.records)
            )
        assert (2, 1) == (deliveries.grown, delays.grown)
    (logged,) = [
        record
        for record in caplog.records
        if getattr(record, "pillarbox_action", "") == "forwarded"
    ]
    assert {logged.pillarbox_event_id} == {frame["event_id"] for frame in frames}


async def test_a_repeated_message_is_a_duplicate(demo, ticket):
    """
    It is counted, and not sent.
    """
    duplicates = Metric("notifier_duplicates_dropped_total")
    async with signed_in(demo) as socket:
        answer = await socket.ask(subject(ticket))
        stream = f"ticket:{ticket.pk}"
        message = {
            "type": "notification",
            "stream": stream,
            "epoch": answer["epoch"],
            "offset": answer["offset"],
            "frame": "{}",
            "ends": False,
            "is_move": False,
            "transaction": None,
            "stamp": 0,
            "at": "2026-11-22T10:00:03.501Z",
        }
        await get_channel_layer().group_send(group_for(stream), message)
        await until(lambda: duplicates.value > duplicates.before)
        assert 1 == duplicates.grown


async def test_a_message_out_of_order_is_a_gap(settings, demo, ticket):
    """
    The socket reads the history.
    """
    gaps = catch_ups("gap")
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await write(ticket, "Lost")
        await lose(settings)
        await rename(ticket, "Heard")
        assert ["Lost", "Heard"] == [(await socket.receive())["payload"]["title"] for _ in range(2)]
    assert 1 == gaps.grown


async def test_a_lost_message_is_found_by_the_position_check(settings, demo, ticket):
    """
    The second check finds and counts it.
    """
    lost = catch_ups("position_check")
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await write(ticket, "Lost")
        await lose(settings)
        await check_twice()
        assert "Lost" == (await socket.receive())["payload"]["title"]
    assert 1 <= lost.grown


async def test_a_lagging_socket_that_is_behind_is_counted(settings, demo, ticket):
    """
    A socket that missed nothing after all isn't counted.
    """
    behind = catch_ups("behind")
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await get_channel_layer().group_send(group_for(f"ticket:{ticket.pk}"), {"type": "behind"})
        assert await socket.received_nothing(demo)
        await housekeeping().positions._behind._task
        assert 0 == behind.grown
        await write(ticket, "Lost")
        await lose(settings)
        await get_channel_layer().group_send(group_for(f"ticket:{ticket.pk}"), {"type": "behind"})
        assert "Lost" == (await socket.receive())["payload"]["title"]
    assert 1 == behind.grown


async def test_a_resume_is_counted(demo, ticket):
    """
    A client that missed nothing reads nothing, and isn't counted.
    """
    resumed = catch_ups("resume")
    async with signed_in(demo) as socket:
        answer = await socket.ask(subject(ticket))
    since = {"epoch": answer["epoch"], "offset": answer["offset"]}
    async with signed_in(demo) as socket:
        await socket.ask({**subject(ticket), "since": since})
    assert 0 == resumed.grown
    await rename(ticket, "Missed")
    async with signed_in(demo) as socket:
        await socket.ask({**subject(ticket), "since": since})
        assert "Missed" == (await socket.receive())["payload"]["title"]
    assert 1 == resumed.grown


async def test_lost_continuity_is_a_resync(settings, demo, ticket):
    """
    Resyncs are counted by reason.
    """
    resyncs = Metric("notifier_resyncs_total", reason="pruned")
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await write(ticket, "Pruned")
        await lose(settings)
        pruned = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}")
        await in_thread(pruned.delete)
        await rename(ticket, "Kept")
        assert "pruned" == (await socket.receive())["reason"]
    assert 1 == resyncs.grown


async def test_dropped_messages_are_counted():
    """
    All waiting messages are dropped, and the one that didn't fit.
    """
    dropped = Metric("notifier_messages_dropped_total")
    queue = Queue(2, 1000, BEHIND)
    for _ in range(3):
        queue.put({"type": "probe"}, 1)
    assert 3 == dropped.grown


async def test_waiting_reads_are_counted(settings):
    """
    More reads are requested than there are threads.
    """
    waiting = Metric("notifier_database_reads_waiting")
    release = threading.Event()
    reads = [asyncio.create_task(in_database(release.wait, PATIENCE)) for _ in range(6)]
    await until(lambda: reads_waiting() >= 2)
    assert 2 <= waiting.value
    release.set()
    await asyncio.gather(*reads)
    assert 0 == waiting.value


def test_another_channel_layer_counts_as_healthy(settings):
    """
    It doesn't report its health.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert layer_health() is None
    assert 1 == Metric("notifier_channel_layer_up").value


async def test_a_layer_that_does_not_answer_is_away(settings, demo):
    """
    Nothing listens at its address.
    """
    layer = {
        "BACKEND": "pillarbox.layer.layers.NotificationChannelLayer",
        "CONFIG": {"hosts": ["redis://127.0.0.1:1"]},
    }
    settings.CHANNEL_LAYERS = {"default": layer}
    assert 1 == Metric("notifier_channel_layer_up").value
    await get_channel_layer().new_channel()
    await until(lambda: layer_health() == "away")
    assert 0 == Metric("notifier_channel_layer_up").value
    await get_channel_layer().flush()
