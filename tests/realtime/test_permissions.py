"""What a permission is based on, and that it may fail: it is never taken for a yes."""

import pytest
from django.contrib.auth.models import Group
from django.db import DataError, ProgrammingError

from apps.realtime.registry import register, unregister
from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from tests.realtime.losing import delete_members, reauthorise
from tests.sockets import (
    collection,
    drain,
    in_thread,
    registered,
    rename,
    signed_in,
    subject,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestGroups:
    """Rights that a type bases on Django's groups and permissions."""

    @pytest.fixture
    def by_group(self):
        """Tickets are for whoever is in a group, whatever the project."""
        unregister("ticket")
        register(OfGroup)
        yield
        unregister("ticket")
        register(TicketType)

    @pytest.mark.parametrize("how", ["remove", "delete"])
    async def test_who_leaves_one_is_noticed_at_once(self, by_group, demo, ticket, how):
        """
        Also if the group ceases to be.
        """
        group = await in_thread(Group.objects.create, name="readers")
        await in_thread(demo.groups.add, group)
        async with signed_in(demo) as socket:
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]
            await in_thread(group.delete if how == "delete" else group.user_set.clear)
            await drain()
            assert "revoked" == (await socket.receive())["reason"]


class Faulty(TicketType):
    """Tickets of whose visibility nothing can be said to one user."""

    fails_for = None
    error = ZeroDivisionError

    def visible_to(self, user):
        if user.pk == Faulty.fails_for:
            raise Faulty.error
        return super().visible_to(user)


class OfGroup(TicketType):
    def visible_to(self, user):
        is_reader = user.groups.filter(name="readers").exists()
        return Ticket.objects.all() if is_reader else Ticket.objects.none()


class TestFaulty:
    async def test_a_permission_that_fails_is_that_users(
        self, monkeypatch, demo, other, project, ticket, caplog
    ):
        """
        It is no yes: the socket comes back without. Everybody else is asked about all the same.
        """
        await in_thread(project.members.add, other)
        monkeypatch.setattr(Faulty, "fails_for", None)
        with registered(Faulty):
            async with signed_in(demo) as socket, signed_in(other) as faulty:
                for each in (socket, faulty):
                    await each.ask(subject(ticket))
                await in_thread(delete_members)
                Faulty.fails_for = other.pk
                await reauthorise()
                assert "revoked" == (await socket.receive())["reason"]
                assert 4500 == await faulty.closed()
                await rename(ticket, "Secret")
                assert await socket.silent(demo)
                assert await faulty.says_no_more()
        (record,) = [it for it in caplog.records if it.message == "A round failed"]
        assert [f"ticket:{ticket.pk}"] == record.streams

    @pytest.mark.parametrize("error", [ZeroDivisionError, ProgrammingError, DataError])
    async def test_what_it_fails_for_is_not_subscribed(
        self, monkeypatch, demo, project, ticket, error
    ):
        """
        Nor is it an outage, which would pass. What else the command asks for is granted.
        """
        monkeypatch.setattr(Faulty, "fails_for", demo.pk)
        monkeypatch.setattr(Faulty, "error", error)
        with registered(Faulty):
            async with signed_in(demo) as socket:
                await socket.send({"subscriptions": [collection(project), subject(ticket)]})
                frames = [await socket.receive() for _ in range(2)]
                assert ["subscribed", "error"] == [frame["type"] for frame in frames]
                assert (1, "internal", False) == tuple(
                    frames[1][key] for key in ("index", "code", "temporary")
                )
                answer = await socket.ask(subject(ticket))
                assert "internal" == answer["code"]
                await rename(ticket, "Secret")
                frame = await socket.receive()
                assert collection(project) == frame["subscription"]
                assert await socket.silent(demo)
