"""Tests of overdue rows: this process renders them, unless a process died while it rendered them."""

import asyncio
import threading

import pytest
from django.db import connection

from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from pillarbox.models import NotificationOutbox, Rendering
from pillarbox.sockets.housekeeping.recurring import housekeeping
from tests.communicators import in_thread, registered, signed_in, subject
from tests.waiting import PATIENCE, until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("published"),
]
LONG_AGO = "2026-01-01T00:00:00Z"


def change(ticket, title):
    """Change a ticket by SQL."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tickets_ticket SET title = %s WHERE id = %s", [title, ticket.pk])


def unrendered():
    return NotificationOutbox.objects.filter(payload__isnull=True)


def become_overdue(**values):
    unrendered().update(created_at=LONG_AGO, **values)


def in_hand():
    return sum(len(each.rows) for each in Rendering.objects.all())


def titles(ticket):
    """Return the titles in the rendered rows of a ticket's stream."""
    rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}", payload__isnull=False)
    return [row.payload["title"] for row in rows.order_by("id")]


async def test_overdue_rows_are_rendered_here(demo, ticket):
    """
    Without workers, rows are rendered and numbered in this process, and read from the database.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await in_thread(change, ticket, "Captured")
        await housekeeping().positions.render_overdue()
        assert 2 == await in_thread(unrendered().count)  # a worker may be about to
        await in_thread(become_overdue)
        await housekeeping().positions.render_overdue()
        await housekeeping().positions.check()
        frame = await socket.receive()
        assert (2, "Captured") == (frame["offset"], frame["payload"]["title"])


async def test_overdue_rendering_recurs(settings, demo, ticket):
    """
    Rows are rendered without a request.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"POSITION_CHECK_SECONDS": 0.5}
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        for title in ("one", "two"):
            await in_thread(change, ticket, title)
            assert title == (await socket.receive())["payload"]["title"]


async def test_rows_that_killed_a_process_are_left_to_workers(demo, ticket, project):
    """
    They might kill this process, too. Other rows don't wait for them.
    """
    other = await in_thread(Ticket.objects.create, project=project, title="old")
    await in_thread(unrendered().delete)
    async with signed_in(demo):
        await in_thread(change, ticket, "deadly")
        await in_thread(become_overdue, claims=1)
        await in_thread(change, other, "good")
        await in_thread(become_overdue)
        await housekeeping().positions.render_overdue()
    assert "good" in await in_thread(titles, other)
    assert "deadly" not in await in_thread(titles, ticket)


async def test_rendering_that_hangs_delays_nothing(settings, demo, ticket, caplog):
    """
    Sockets and position checks continue, no second thread hangs, and no process ends.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"RENDER_SECONDS": 0}
    hangs, release = threading.Event(), threading.Event()

    class HangingType(TicketType):
        def payload(self, instance):
            hangs.set()
            release.wait(PATIENCE)
            return super().payload(instance)

    with registered(HangingType):
        async with signed_in(demo) as socket:
            await in_thread(change, ticket, "slow")
            await in_thread(become_overdue)
            own = unrendered().filter(stream=f"ticket:{ticket.pk}")
            await in_thread(own.update, shard=3)
            others = unrendered().exclude(stream=f"ticket:{ticket.pk}")
            await in_thread(others.update, shard=5)
            rendering = asyncio.create_task(housekeeping().positions.render_overdue())
            await until(hangs.is_set)
            await housekeeping().positions.render_overdue()
            await housekeeping().positions.check()
            assert await socket.answers()
            await until(lambda: "Rendering hangs" in caplog.text)
            release.set()
            await rendering


async def test_code_that_would_end_the_process(demo, ticket):
    """
    SystemExit ends only the thread. The rows stay claimed, like those of a process that died.
    """

    class LeavingType(TicketType):
        def payload(self, instance):
            raise SystemExit

    with registered(LeavingType):
        async with signed_in(demo) as socket:
            await in_thread(change, ticket, "leaves")
            await in_thread(become_overdue)
            await housekeeping().positions.render_overdue()
            assert await socket.answers()
    assert 2 == await in_thread(in_hand)
