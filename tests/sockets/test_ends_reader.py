"""Tests of the reader of ends of rights, and of the access checks that ends lead to."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth.models import Group
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from pillarbox.capture.announce import rights_changed
from pillarbox.models import RIGHTS, RIGHTS_SHARD, NotificationOutbox, Stream
from pillarbox.sockets.access import ends_reader
from pillarbox.sockets.access.checks import Decision
from pillarbox.sockets.access.ends_reader import NOWHERE, EndsReader
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.sockets.subscriptions.catch_up import Page
from pillarbox.sockets.subscriptions.subscription import Subscription
from pillarbox.stream.history import Position, head
from pillarbox.stream.locks import lock_numbering
from pillarbox.stream.numbering import number
from pillarbox.types.groups import group_for
from tests.communicators import (
    collection,
    database_away,
    executing,
    in_thread,
    registered,
    rename,
    signed_in,
    statements_of,
    subject,
)
from tests.rows import end
from tests.sockets.losing import delete_members_unannounced, reauthorise
from tests.waiting import PATIENCE, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


def number_ends():
    return number(RIGHTS_SHARD, using=DEFAULT_DB_ALIAS)


async def test_an_unknown_lookup_affects_everybody(demo, ticket, caplog):
    """
    Another version wrote the end: all sockets are checked, and keep their subscriptions.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        (served,) = housekeeping().sockets
        await in_thread(end, 1, lookup="nothing")
        await in_thread(number_ends)
        await housekeeping().ends_reader.read()
        assert 1 == served.access.times_affected
        await rename(ticket, "Changed")
        assert "Changed" == (await socket.receive())["payload"]["title"]
    assert "Ends of rights may affect anybody" in caplog.text


async def test_a_member_who_left_the_group_meanwhile_is_found(demo, other, ticket):
    """
    The end of the group's right is looked up together with all ends that are committed by then.
    """
    group = await in_thread(Group.objects.create, name="staff")
    await in_thread(group.user_set.add, demo)
    async with signed_in(demo):
        (served,) = housekeeping().sockets
        await in_thread(end, group.pk, lookup="groups")
        await in_thread(number_ends)
        await in_thread(group.user_set.clear)
        before = housekeeping().ends_reader.position.offset
        await housekeeping().ends_reader.read()
        assert 1 == served.access.times_affected
        unread = NotificationOutbox.objects.filter(stream=RIGHTS, offset=None)
        assert not await in_thread(unread.exists)
        assert housekeeping().ends_reader.position.offset > before + 1


async def test_a_member_who_leaves_the_group_during_the_lookup_is_found(demo, other, ticket):
    """
    Another process has numbered the second end, so this one finds no end without offset.
    """
    group = await in_thread(Group.objects.create, name="staff")
    await in_thread(group.user_set.add, demo)
    left = []

    def leave(execute, sql, *rest):
        if "auth_user_groups" in sql and not left:
            left.append(group)
            with ThreadPoolExecutor(1) as executor:
                executor.submit(leave_group).result()
        return execute(sql, *rest)

    def leave_group():
        group.user_set.clear()
        number_ends()
        connections.close_all()

    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        (served,) = housekeeping().sockets
        await in_thread(end, group.pk, lookup="groups")
        await in_thread(number_ends)
        first = await in_thread(head, RIGHTS, using=DEFAULT_DB_ALIAS)
        async with executing("ends", leave):
            await housekeeping().ends_reader.read()
        assert [group] == left
        assert 1 == served.access.times_affected
        assert housekeeping().ends_reader.position.offset > first.offset
        (subscription,) = served.subscriptions.values()
        assert first.offset == subscription.affected_since


async def test_a_socket_that_connects_while_ends_are_read_is_checked(demo):
    """
    The handshake may not have seen the end.
    """
    async with signed_in(demo):
        (served,) = housekeeping().sockets
        known = housekeeping().ends_reader.position
        await in_thread(end, 0)
        await in_thread(number_ends)
        await housekeeping().ends_reader.read()
        assert 0 == served.access.times_affected
        housekeeping().enter(served, Position(epoch=known.epoch, offset=known.offset))
        assert (1, False) == (served.access.times_affected, served.access.checked.is_set())
        await until(served.access.checked.is_set)
        housekeeping()._sockets_of[demo.pk] -= 1


async def test_an_end_that_arrives_during_an_access_check(demo, ticket):
    """
    The socket is checked once more, because the check may have missed the end.
    """
    asked, goes_on = [], threading.Event()

    class Hesitant(TicketType):
        def visible_to(self, user):
            asked.append(user)
            assert len(asked) != 2 or goes_on.wait(PATIENCE)
            return super().visible_to(user)

    with registered(Hesitant):
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            asked[1:] = []
            (served,) = housekeeping().sockets
            served.access.affect((), 1)
            await until(lambda: len(asked) == 2)
            served.access.affect((), 1)
            goes_on.set()
            await until(served.access.checked.is_set)
            assert 3 == len(asked)


async def test_a_lost_subscription_stays_lost(demo, ticket):
    """
    A second access check, after the right is back, doesn't restore it.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        (served,) = housekeeping().sockets
        (kept,) = served.subscriptions.values()
        async with served.turns._lock:
            served.access.decision = Decision(lost=(kept,))
            await reauthorise()
        assert "revoked" == (await socket.receive())["reason"]


async def test_rights_that_end_all_the_time(demo, ticket):
    """
    A result is never sent if a right may have ended before it was read.
    """

    class Restless(TicketType):
        def visible_to(self, user):
            rights_changed(user)
            return super().visible_to(user)

    with registered(Restless):
        async with signed_in(demo) as socket:
            answer = await socket.ask({**subject(ticket), "snapshot": True})
    assert ("unavailable", True) == (answer["code"], answer["temporary"])


def test_while_another_process_numbers_there_may_be_more_ends(settings):
    """
    The wait for its lock is limited.
    """

    settings.PILLARBOX = settings.PILLARBOX | {"LOCK_IDLE_SECONDS": 0.2}

    def hold():
        try:
            with transaction.atomic():
                lock_numbering(RIGHTS_SHARD, using=DEFAULT_DB_ALIAS)
                held.set()
                assert done.wait(PATIENCE)
        finally:
            connections.close_all()

    held, done = threading.Event(), threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(PATIENCE)
    try:
        assert ends_reader._is_beyond(NOWHERE)
    finally:
        done.set()
        holder.join()


async def test_sockets_share_a_read(demo):
    """
    When it is their turn, known ends aren't read again. An end that was never written is never known.
    """
    async with signed_in(demo):
        known = housekeeping().ends_reader
        await in_thread(end, 0)
        await in_thread(number_ends)
        stamp = known.position.offset + 1
        reading = (known.reach(one) for one in (stamp, stamp, stamp + 1))
        assert [True, True, False] == await asyncio.gather(*reading)


async def test_hints_of_known_ends_are_ignored(demo):
    """
    Ends that one statement wrote are read together, at the first hint.
    """

    async def learn(known, *hints):
        await in_thread(end, 0)
        await in_thread(number_ends)
        new = known.position.offset + 1
        for offset in (*hints, new):
            message = {"type": "end_of_right", "offset": offset}
            await get_channel_layer().group_send(group_for(RIGHTS), message)
        await until(lambda: known.position.offset == new)

    async with signed_in(demo):
        known = housekeeping().ends_reader
        await learn(known)
        of_one = await statements_of("ends", lambda: learn(known))
        assert of_one == await statements_of("ends", lambda: learn(known, 1, 1, 1))


async def test_waiting_for_another_read_times_out(settings, demo):
    """
    A read that hangs costs other sockets no more than a read's timeout.
    """
    async with signed_in(demo):
        known = housekeeping().ends_reader
        settings.PILLARBOX = settings.PILLARBOX | {"DATABASE_SECONDS": 0.1}
        async with asyncio.timeout(PATIENCE), known._reading:
            with pytest.raises(TimeoutError):
                await known.reach(10**9)


async def test_a_subscription_that_starts_while_ends_are_looked_up(demo, project, ticket):
    """
    It needs no access check: after the ends, it reads itself which rows they hide from it.
    """
    looking, goes_on = threading.Event(), threading.Event()

    def wait(execute, sql, *rest):
        if '"tickets_ticket"."project_id" IN' in sql:
            looking.set()
            assert goes_on.wait(PATIENCE)
        return execute(sql, *rest)

    elsewhere = await in_thread(Project.objects.create, name="Elsewhere")
    await in_thread(elsewhere.members.add, demo)
    unconcerned = await in_thread(Ticket.objects.create, project=elsewhere, title="unconcerned")
    async with signed_in(demo) as socket:
        await housekeeping().ends_reader.read_all()
        await socket.ask(subject(unconcerned))
        (served,) = housekeeping().sockets
        await in_thread(end, project.pk, "project")
        await in_thread(number_ends)
        before = served.access.times_affected
        async with executing("ends", wait):
            reading = asyncio.create_task(housekeeping().ends_reader.read())
            await until(looking.is_set)
            await socket.ask(subject(ticket))
            goes_on.set()
            await reading
        assert before == served.access.times_affected
        assert served.subscriptions[f"ticket:{ticket.pk}"].barrier is not None


@pytest.fixture
def wavering(demo, project):
    """Return the steps that the next checks of a right take, one each."""
    steps = []

    class Wavering(TicketType):
        def visible_to(self, user):
            for step in steps[:1]:
                steps.remove(step)
                step(project.members, demo)
            return super().visible_to(user)

    with registered(Wavering):
        yield steps


def take(members, user):
    members.remove(user)


def leave_it(members, user):
    """Do nothing: this is the access check."""


def give(members, user):
    members.add(user)


async def test_a_subscription_that_was_lost_in_between_is_not_resynced(demo, ticket, wavering):
    """
    The right is back when the present state is read, but the client has been told of the end.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        wavering[:] = [take, leave_it, give]
        await in_thread(Stream.objects.filter(name=f"ticket:{ticket.pk}").delete)
        await housekeeping().positions.check()
        assert "revoked" == (await socket.receive())["reason"]
        assert await socket.answers()
        assert [] == wavering


async def test_a_subscription_that_was_lost_in_between_is_not_repeated(demo, ticket, wavering):
    """
    A request for a subscription that has started already is refused then.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        wavering[:] = [take, leave_it, give]
        await socket.send({**subject(ticket), "snapshot": True})
        assert "revoked" == (await socket.receive())["reason"]
        assert "not_found" == (await socket.receive())["code"]
        assert [] == wavering


async def test_with_the_database_away(demo, ticket, caplog):
    """
    Nothing is sent with a stamp that isn't known. The reader continues after a failed read.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        (served,) = housekeeping().sockets
        async with database_away():
            assert not await served.access.may_send(10**9)
            await get_channel_layer().group_send(group_for(RIGHTS), {"type": "end_of_right"})
            await until(lambda: caplog.text.count("The database is away") > 1)
        assert await served.access.may_send(0)


async def test_another_channel_layer_works(settings, demo):
    """
    A layer without our `end_channel` forgets channels by itself.
    """
    backend = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    settings.CHANNEL_LAYERS = {"default": backend}
    async with signed_in(demo) as socket:
        assert await socket.answers()
    await until(lambda: not housekeeping().sockets)


async def test_a_sign_out_is_final(demo):
    """
    Even if a cache still has the session when the socket is checked.
    """
    async with signed_in(demo) as socket:
        (served,) = housekeeping().sockets
        async with served.turns._lock:
            served.access.sign_out()
            await reauthorise()
        assert 4401 == await socket.closed()


async def test_continuity_and_the_right_are_lost(demo, ticket):
    """
    The resync finds that the right has ended, although no end was announced.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await in_thread(delete_members_unannounced)
        await in_thread(Stream.objects.filter(name=f"ticket:{ticket.pk}").delete)
        await housekeeping().positions.check()
        assert "revoked" == (await socket.receive())["reason"]


async def test_a_right_that_ends_while_a_snapshot_is_read(demo, project, ticket):
    """
    No page is sent that was read without the right.
    """

    class Taking(TicketType):
        def visible_to(self, user):
            project.members.remove(user)
            return Ticket.objects.all()

    with registered(Taking):
        async with signed_in(demo) as socket:
            answer = await socket.ask({**collection(project), "snapshot": True})
            assert "subscribed" == answer["type"]
            assert "revoked" == (await socket.receive())["reason"]
            assert await socket.answers()


async def test_a_page_of_an_ended_subscription_is_not_sent(demo, ticket):
    """
    The subscription may have ended while the page was read.
    """
    async with signed_in(demo) as socket:
        (served,) = housekeeping().sockets
        page = Page(head=housekeeping().ends_reader.position, entries=[], waits=False)
        gone = Subscription(object_type="ticket", id="x", pk=ticket.pk)
        async with served.turns._lock:
            await served.forwarder.send_page(gone, page)
        assert await socket.answers()


async def test_another_epoch_of_ends_affects_everybody(demo):
    """
    After a restore ends may be missing.
    """
    async with signed_in(demo):
        (served,) = housekeeping().sockets
        await in_thread(Stream.objects.filter(name=RIGHTS).delete)
        await housekeeping().ends_reader.read()
        assert 1 == served.access.times_affected
        await until(served.access.checked.is_set)


async def test_nothing_is_read_before_a_socket_is_authenticated(demo, ticket):
    """
    Messages may arrive before. An earlier end then affects no socket that connects meanwhile.
    """
    await in_thread(end, demo.pk)
    await in_thread(number_ends)
    noted = []
    reader = EndsReader(dict, noted.append)
    await reader.read()
    assert ([], NOWHERE) == (noted, reader.position)
