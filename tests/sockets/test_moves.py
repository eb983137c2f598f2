"""Tests of objects that move to where other users may see them."""

import json

import pytest

from apps.tickets.models import Project
from pillarbox.models import RIGHTS, NotificationOutbox
from tests.communicators import (
    collection,
    drain,
    in_thread,
    lose,
    rename,
    signed_in,
    subject,
    write,
)
from tests.rendering import number_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestMoves:
    async def test_a_move_is_a_resync(self, demo, project, ticket):
        """
        A user who may see the object at its new place gets the present state, and later notifications.
        """
        elsewhere = await in_thread(_project_of, demo)
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            ticket.project, ticket.title = elsewhere, "Moved"
            await in_thread(ticket.save)
            await drain()
            frame = await socket.receive()
            assert ("resynced", "moved", 2) == (frame["type"], frame["reason"], frame["offset"])
            assert "Moved" == frame["payload"]["title"]
            await rename(ticket, "After")
            assert 3 == (await socket.receive())["offset"]

    async def test_the_new_place_is_not_shown_without_the_right(self, demo, project, ticket):
        """
        Neither the move nor later changes are shown.
        """
        secret = await in_thread(Project.objects.create, name="Secret")
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await socket.ask(collection(project))
            ticket.project, ticket.title = secret, "Hidden"
            await in_thread(ticket.save)
            await drain()
            frames = [await socket.receive() for _ in range(2)]
            assert {"unsubscribed", "DELETE_TICKET"} == {frame["type"] for frame in frames}
            assert "Hidden" not in json.dumps(frames)
            await rename(ticket, "Hidden too")
            assert await socket.received_nothing(demo)

    async def test_a_move_in_a_gap_is_a_resync(self, settings, demo, project, ticket):
        """
        Notifications before the move are sent, then the present state.
        """
        elsewhere = await in_thread(_project_of, demo)
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Before")
            await in_thread(number_all)
            ticket.project = elsewhere
            await write(ticket, "Moved")
            await lose(settings)
            await rename(ticket, "After")
            frames = [await socket.receive() for _ in range(2)]
        assert ["UPDATE_TICKET", "resynced"] == [frame["type"] for frame in frames]
        assert ("moved", 4) == (frames[1]["reason"], frames[1]["offset"])


def _project_of(user):
    project = Project.objects.create(name="Elsewhere")
    project.members.add(user)
    # As if the right had begun so long ago that its row is pruned.
    NotificationOutbox.objects.filter(stream=RIGHTS).delete()
    return project
