"""Tests of replays and new epochs with real processes, which are killed, and with subscribers."""

import pytest
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from pillarbox.models import NotificationOutbox, Replay
from pillarbox.replay.criteria import Criteria
from pillarbox.replay.decisions import decide, last_pk
from pillarbox.replay.replay import BATCH
from tests.communicators import collection, in_thread, subject
from tests.journeys.test_journeys import ask, connect, receive
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 10_000


def many(rows, objects):
    """Make failed rows of an unregistered type, on as many streams as objects."""
    NotificationOutbox.objects.bulk_create(
        NotificationOutbox(
            stream=f"thing:{n % objects}",
            shard=n % objects % 16,
            offset=n // objects + 1,
            object_type="thing",
            object_id=str(n % objects),
            event="X",
            payload={"n": n},
            failed_at=timezone.now(),
            error_type="E",
        )
        for n in range(rows)
    )


def decided(by):
    return decide(
        Criteria.parse({"state": "failed", "event": "X"}),
        by=by,
        reason="mended",
        last=last_pk(using=DEFAULT_DB_ALIAS),
        using=DEFAULT_DB_ALIAS,
    )


def is_over():
    return not Replay.objects.filter(finished_at=None).exists()


def test_killed_workers_announce_each_row_once(site, admin):
    """
    Workers are killed twice in the middle of a replay. Each row is announced once, in order.
    """
    many(ROWS, objects=100)
    pks = list(NotificationOutbox.objects.order_by("pk").values_list("pk", flat=True))
    decided(admin)
    for part in (1, 2):
        site.start("worker")
        site.start("beat")
        wait_until(
            lambda part=part: Replay.objects.filter(announced__gt=part * ROWS // 4).exists(),
            "the replay continues",
        )
        site.kill("worker")
        site.kill("beat")
    replay = Replay.objects.get()
    new = NotificationOutbox.objects.exclude(repeats=None)
    assert None is replay.finished_at
    assert replay.announced == new.count() < ROWS
    site.start("worker", "beat")
    wait_until(is_over, "the replay is complete")
    assert pks == list(new.order_by("pk").values_list("repeats", flat=True))
    replay.refresh_from_db()
    assert (ROWS, 0, 0) == (replay.announced, replay.superseded, replay.refused)


def test_a_worker_begins_at_once(site, admin):
    """
    A confirmed replay requests a wake-up, so that a worker begins before the next sweep.
    """
    site.start("worker")
    many(BATCH + 1, objects=1)
    decided(admin)
    wait_until(is_over, "the replay is complete")


async def test_a_new_epoch_resyncs_subscribers(site, demo, ticket, relay):
    """
    Each subscriber of the stream receives `resynced` with the present state; others receive nothing.
    """
    await in_thread(relay.drain)
    await in_thread(site.start, "daphne")
    socket = await connect(site, demo)
    before = await ask(socket, subject(ticket))
    await ask(socket, collection(ticket.project))
    await in_thread(
        call_command, "pillarbox", "new-epoch", "--stream", f"ticket:{ticket.pk}", "--yes"
    )
    frame = await receive(socket)
    assert ("resynced", "ticket", ticket.title) == (
        frame["type"],
        frame["object_type"],
        frame["payload"]["title"],
    )
    assert before["epoch"] != frame["epoch"]
    await socket.close()
