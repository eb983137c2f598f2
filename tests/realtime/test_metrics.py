"""What Daphne counts of its sockets is what happened to them."""

import asyncio
import logging
import threading

import pytest
from channels.layers import get_channel_layer

from apps.outbox.models import NotificationOutbox
from apps.realtime.database import in_database, reads_waiting
from apps.realtime.groups import group_for
from apps.realtime.layers import Queue, standing
from apps.realtime.rounds import rounds
from tests.metrics import Metric
from tests.sockets import collection, in_thread, lose, rename, signed_in, subject, write
from tests.waiting import PATIENCE, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


def catch_ups(cause):
    return Metric("notifier_catch_ups_total", cause=cause)


async def test_sockets_and_subscriptions_are_those_that_are_open(demo, ticket, project):
    """
    They come and go.
    """
    sockets, subscriptions = Metric("notifier_sockets"), Metric("notifier_subscriptions")
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await socket.ask(collection(project))
        assert (1, 2) == (sockets.grown, subscriptions.grown)
    assert (-1, -2) == (sockets.grown, subscriptions.grown)


async def test_each_delivery_counts_and_each_envelope_has_one_age(demo, ticket, caplog):
    """
    Two sockets on one stream are two deliveries of one envelope; who wants to know finds it in the log.
    """
    deliveries = Metric("notifier_deliveries_total")
    delays = Metric("notifier_delivery_delay_seconds_count")
    async with signed_in(demo) as one, signed_in(demo) as other:
        for socket in (one, other):
            await socket.ask(subject(ticket))
        with caplog.at_level(logging.DEBUG, "apps.realtime"):
            await rename(ticket, "Changed")
            frames = [await socket.receive() for socket in (one, other)]
            await until(lambda: any(hasattr(record, "event_id") for record in caplog.records))
        assert (2, 1) == (deliveries.grown, delays.grown)
    (logged,) = [
        record for record in caplog.records if getattr(record, "action", "") == "forwarded"
    ]
    assert {logged.event_id} == {frame["event_id"] for frame in frames}


async def test_what_comes_again_is_a_duplicate(demo, ticket):
    """
    It is counted, and not shown.
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
            "at": "2026-11-22T10:00:03.501Z",
        }
        await get_channel_layer().group_send(group_for(stream), message)
        await until(lambda: duplicates.value > duplicates.before)
        assert 1 == duplicates.grown


async def test_a_push_out_of_turn_is_a_gap(settings, demo, ticket):
    """
    The socket reads the database for it.
    """
    gaps = catch_ups("gap")
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await write(ticket, "Lost")
        await lose(settings)
        await rename(ticket, "Heard")
        assert ["Lost", "Heard"] == [(await socket.receive())["payload"]["title"] for _ in range(2)]
    assert 1 == gaps.grown


async def test_a_lost_push_is_found_by_the_position_check(settings, demo, ticket):
    """
    At the second look.
    """
    lost = catch_ups("position_check")
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await write(ticket, "Lost")
        await lose(settings)
        for _ in range(2):
            await rounds().check_positions()
        assert "Lost" == (await socket.receive())["payload"]["title"]
    assert 1 <= lost.grown


async def test_who_may_have_missed_something_is_behind(settings, demo, ticket):
    """
    What is not behind after all is not counted.
    """
    behind = catch_ups("behind")
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await get_channel_layer().group_send(group_for(f"ticket:{ticket.pk}"), {"type": "behind"})
        assert await socket.silent(demo)
        await rounds()._behind._task
        assert 0 == behind.grown
        await write(ticket, "Lost")
        await lose(settings)
        await get_channel_layer().group_send(group_for(f"ticket:{ticket.pk}"), {"type": "behind"})
        assert "Lost" == (await socket.receive())["payload"]["title"]
    assert 1 == behind.grown


async def test_who_comes_back_resumes(demo, ticket):
    """
    Who missed nothing reads nothing.
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
    By its reason.
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


async def test_what_overflows_is_counted():
    """
    All that waited, and what came on top.
    """
    dropped = Metric("notifier_messages_dropped_total")
    queue = Queue(2, 1000)
    for _ in range(3):
        queue.put({"type": "probe"}, 1)
    assert 3 == dropped.grown


async def test_reads_that_nobody_has_begun_wait(settings):
    """
    More reads than threads.
    """
    waiting = Metric("notifier_database_reads_waiting")
    release = threading.Event()
    reads = [asyncio.create_task(in_database(release.wait, PATIENCE)) for _ in range(6)]
    await until(lambda: reads_waiting() >= 2)
    assert 2 <= waiting.value
    release.set()
    await asyncio.gather(*reads)
    assert 0 == waiting.value


def test_a_layer_of_another_kind_says_nothing(settings):
    """
    It is taken to be there.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert standing() is None
    assert 1 == Metric("notifier_channel_layer_up").value


async def test_a_layer_that_is_wanted_and_does_not_answer_is_away(settings, demo):
    """
    Nobody listens at its address.
    """
    layer = {
        "BACKEND": "apps.realtime.layers.NotificationChannelLayer",
        "CONFIG": {"hosts": ["redis://127.0.0.1:1"]},
    }
    settings.CHANNEL_LAYERS = {"default": layer}
    assert 1 == Metric("notifier_channel_layer_up").value
    await get_channel_layer().new_channel()
    await until(lambda: standing() == "away")
    assert 0 == Metric("notifier_channel_layer_up").value
    await get_channel_layer().flush()
