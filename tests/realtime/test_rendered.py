"""Where what a page shows stands: as a client may say it."""

import pytest

from apps.realtime.exceptions import UnknownObjectTypeError
from apps.realtime.rendered import positions
from tests.sockets import collection, drain, in_thread, rename, signed_in, subject

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_client_goes_on_from_there(demo, project, ticket):
    """
    Objects, collections and the user's own: what comes after the positions is told, and nothing else.
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


def test_nothing_asked():
    """
    Of nothing there is nothing.
    """
    assert [] == positions([])


def test_what_nobody_can_follow():
    """
    A name that isn't registered is a mistake.
    """
    with pytest.raises(UnknownObjectTypeError):
        positions([("invoice", 1)])
