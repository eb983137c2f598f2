"""An object that moves to where others may see it."""

import json

import pytest

from apps.tickets.models import Project
from tests.sockets import (
    collection,
    drain,
    in_thread,
    lose,
    rename,
    signed_in,
    subject,
    write,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestMoves:
    async def test_a_move_is_said_with_the_present_state(self, demo, project, ticket):
        """
        Who may see it where it is now is told that it moved; from there on all is complete.
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

    async def test_who_may_not_see_it_there_sees_nothing_of_it(self, demo, project, ticket):
        """
        Not what it became with the move, nor what comes after.
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
            assert await socket.silent(demo)

    async def test_in_a_gap_it_is_the_same(self, settings, demo, project, ticket):
        """
        What was before the move is sent, then what is now.
        """
        elsewhere = await in_thread(_project_of, demo)
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Before")
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
    return project
