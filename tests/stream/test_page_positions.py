"""Positions for rendered pages, as a client sends them."""

import pytest

from pillarbox.exceptions import UnknownObjectTypeError
from pillarbox.stream.page_positions import positions
from tests.communicators import collection, drain, in_thread, rename, signed_in, subject

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_client_continues_from_a_position(demo, project, ticket):
    """
    A client gets what comes after the positions, for objects, collections and `me`.
    """
    await drain()
    subjects = [("ticket", ticket.pk), ("project.tickets", project.pk), ("me", demo.pk)]
    found = await in_thread(positions, subjects)
    assert [subject(ticket), collection(project), {"object_type": "me", "id": "me"}] == [
        {name: entry[name] for name in ("object_type", "id")} for entry in found
    ]
    await rename(ticket, "After")
    async with signed_in(demo) as socket:
        await socket.send({"subscriptions": found})
        frames = [await socket.receive() for _ in range(5)]
    assert [True] * 3 == [frame["recovered"] for frame in frames if "recovered" in frame]
    assert ["After"] * 2 == [f["payload"]["title"] for f in frames if f["type"] == "UPDATE_TICKET"]


def test_without_subjects():
    """
    Without subjects there are no positions.
    """
    assert [] == positions([])


def test_an_unknown_name():
    """
    An unregistered name raises an error.
    """
    with pytest.raises(UnknownObjectTypeError):
        positions([("invoice", 1)])
