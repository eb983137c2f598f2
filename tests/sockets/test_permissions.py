"""Tests of permissions: what they may depend on, and that a failed one denies access."""

import threading

import pytest
from django.contrib.auth.models import Group
from django.db import DataError, ProgrammingError

from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from pillarbox.capture.announce import rights_changed
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.types.registry import register, unregister
from tests.communicators import (
    collection,
    drain,
    in_thread,
    registered,
    rename,
    signed_in,
    subject,
)
from tests.sockets.losing import delete_members, reauthorise
from tests.waiting import PATIENCE, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestGroups:
    """Tests of permissions that depend on Django's groups."""

    @pytest.fixture
    def by_group(self):
        """Make tickets visible to the members of a group."""
        unregister("ticket")
        register(OfGroup)
        yield
        unregister("ticket")
        register(TicketType)

    @pytest.mark.parametrize("how", ["remove", "delete"])
    async def test_a_member_who_leaves_loses_the_right_at_once(self, by_group, demo, ticket, how):
        """
        Also if the group is deleted.
        """
        group = await in_thread(Group.objects.create, name="readers")
        await in_thread(demo.groups.add, group)
        async with signed_in(demo) as socket:
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]
            await in_thread(group.delete if how == "delete" else group.user_set.clear)
            await drain()
            assert "revoked" == (await socket.receive())["reason"]


class Faulty(TicketType):
    """A type of tickets whose permission fails for one user."""

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
    async def test_a_failed_permission_closes_only_its_users_sockets(
        self, monkeypatch, demo, other, project, ticket, caplog
    ):
        """
        Access is denied to that user. Other users' sockets are checked nonetheless.
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
                assert await socket.received_nothing(demo)
                assert await faulty.sent_nothing_more()
        (record,) = [it for it in caplog.records if it.message == "Housekeeping failed"]
        assert [f"ticket:{ticket.pk}"] == record.pillarbox_streams

    async def test_a_failed_permission_ends_the_wait_for_it(self, demo, ticket):
        """
        The socket is closed when the access check has failed, however long a check may take.
        """
        asked, goes_on = [], threading.Event()

        class Late(TicketType):
            def visible_to(self, user):
                asked.append(user)
                if len(asked) > 1 and goes_on.wait(PATIENCE):
                    raise ZeroDivisionError
                return super().visible_to(user)

        with registered(Late):
            async with signed_in(demo) as socket:
                await socket.ask(subject(ticket))
                (served,) = housekeeping().sockets
                await in_thread(rights_changed, demo)
                await rename(ticket, "Secret")
                await until(lambda: served.access.times_affected and served.turns._lock.locked())
                goes_on.set()
                assert 4500 == await socket.closed()

    @pytest.mark.parametrize("error", [ZeroDivisionError, ProgrammingError, DataError])
    async def test_a_failed_permission_refuses_the_subscription(
        self, monkeypatch, demo, project, ticket, error
    ):
        """
        The error is not temporary. Other entries of the command are granted.
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
                assert await socket.received_nothing(demo)
