"""Tests of clients that read streams with erased rows: they see `skipped`, and miss nothing else."""

import pytest

from apps.tickets.models import Ticket
from pillarbox.live import erase
from tests.communicators import collection, drain, in_thread, signed_in, subject, write
from tests.rendering import number_all
from tests.sockets.resuming import where

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


def seen(frame):
    """Return what a client sees of a notification of a ticket."""
    return frame["offset"], frame["type"], frame.get("payload", {}).get("title")


async def test_resuming_across_erased_rows(demo, project, ticket):
    """
    Erased offsets are skipped; those of other objects and the deletion are as before.
    """
    other = await in_thread(Ticket.objects.create, project=project, title="Other")
    await drain()
    since = await where(demo, collection(project))
    await write(ticket, "secret")
    await write(other, "two")
    await write(ticket, "secret, too")
    pk = ticket.pk
    await drain()
    await in_thread(ticket.delete)
    await drain()
    assert 6 == (await in_thread(erase, "ticket", pk)).erased
    async with signed_in(demo) as socket:
        answer = await socket.ask({**collection(project), "since": since})
        assert (True, 4) == (answer["recovered"], answer["missed"])
        frames = [await socket.receive() for _ in range(4)]
        first = since["offset"] + 1
        assert [
            (first, "skipped", None),
            (first + 1, "UPDATE_TICKET", "two"),
            (first + 2, "skipped", None),
            (first + 3, "DELETE_TICKET", None),
        ] == [seen(frame) for frame in frames]
        assert "secret" not in str(frames)
        assert await socket.received_nothing(demo)


async def test_a_row_that_was_erased_before_it_was_published(demo, ticket):
    """
    A connected client finds the offset without a push, as skipped, and in order.
    """
    async with signed_in(demo) as socket:
        offset = (await socket.ask(subject(ticket)))["offset"]
        await write(ticket, "secret")
        await in_thread(number_all)
        await in_thread(erase, "ticket", ticket.pk)
        await write(ticket, "new")
        await drain()
        frames = [await socket.receive() for _ in range(2)]
    assert [(offset + 1, "skipped", None), (offset + 2, "UPDATE_TICKET", "new")] == [
        seen(frame) for frame in frames
    ]
