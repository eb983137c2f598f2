"""The law of rights while a worker is frozen, while none numbers, and for sockets that connect meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from apps.tickets.models import Project, Ticket
from pillarbox.capture.announce import announce
from pillarbox.exceptions import LockLostError
from pillarbox.models import RIGHTS_SHARD, NotificationOutbox
from pillarbox.stream.locks import numbering_lock
from pillarbox.stream.numbering import number, number_batch
from tests.communicators import collection, drain, in_thread, signed_in, subject
from tests.rendering import number_all
from tests.sockets.drawn_clients import number_by_check
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


def take(project, user, ticket):
    """End the user's right, and change the ticket, in one transaction."""
    with transaction.atomic():
        project.members.remove(user)
        Ticket.objects.filter(pk=ticket.pk).update(title="Secret")
        announce(ticket, "TOLD", {})  # it needs no rendering


def take_and_give_back(project, user, ticket):
    take(project, user, ticket)
    project.members.add(user)


CHANGES = [(take, "unsubscribed"), (take_and_give_back, "resynced")]


@pytest.mark.parametrize(("change", "kind"), CHANGES)
async def test_rows_that_a_position_check_numbers(settings, demo, project, ticket, change, kind):
    """
    No worker has numbered the rows, and no message arrives by the channel layer.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await in_thread(change, project, demo, ticket)
        await number_by_check(settings)
        assert kind == (await socket.receive())["type"]
    rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}", published_at=None)
    assert [2, 3] == await in_thread(lambda: sorted(row.offset for row in rows))


class Frozen:
    """A worker that stops for ever between numbering the ends of rights and the commit."""

    def __init__(self):
        self.has_numbered, self.goes_on = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._number)

    def __enter__(self):
        self.thread.start()
        assert self.has_numbered.wait(PATIENCE)

    def __exit__(self, *_):
        self.goes_on.set()
        self.thread.join()

    def _number(self):
        try:
            with pytest.raises(LockLostError), numbering_lock(RIGHTS_SHARD, using=DEFAULT_DB_ALIAS):
                number_batch(RIGHTS_SHARD, using=DEFAULT_DB_ALIAS)
                self.has_numbered.set()
                assert self.goes_on.wait(PATIENCE)
        finally:
            connections.close_all()


@pytest.mark.parametrize(("change", "kind"), CHANGES)
async def test_a_worker_is_frozen_while_it_numbers_ends(
    settings, demo, project, ticket, change, kind
):
    """
    Other workers leave the rows unnumbered until PostgreSQL has ended the frozen transaction, and no longer.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"LOCK_IDLE_SECONDS": 0.5}
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await in_thread(change, project, demo, ticket)
        frozen = Frozen()
        await in_thread(frozen.__enter__)
        try:
            unpublished = NotificationOutbox.objects.filter(published_at=None)
            while await in_thread(unpublished.exists):
                await drain()
            assert kind == (await socket.receive())["type"]
        finally:
            await in_thread(frozen.__exit__)


@pytest.mark.parametrize("is_numbered", [False, True])
async def test_a_resume_before_anything_is_published(demo, project, ticket, is_numbered):
    """
    The right ended and began again. Rows committed while it was missing aren't shown when they are published.
    """
    abouts = [subject(ticket), collection(project)]
    async with signed_in(demo) as socket:
        answers = [await socket.ask(about) for about in abouts]
    await in_thread(take_and_give_back, project, demo, ticket)
    if is_numbered:
        await in_thread(number_all)
    async with signed_in(demo) as socket:
        for about, answer in zip(abouts, answers, strict=True):
            since = {"epoch": answer["epoch"], "offset": answer["offset"]}
            resumed = await socket.ask({**about, "since": since})
            assert resumed["recovered"] is not is_numbered
        await drain()
        expected = ["snapshot"] if is_numbered else ["resynced", "resynced", "snapshot"]
        assert expected == sorted([(await socket.receive())["type"] for _ in expected])
        await in_thread(Ticket.objects.filter(pk=ticket.pk).update, title="After")
        await drain()
        frames = [await socket.receive() for _ in abouts]
    assert ["After"] * 2 == [frame["payload"]["title"] for frame in frames]


def announce_while_it_moves(ticket, *places):
    """Announce in a transaction that is committed after the ticket has moved through several projects."""

    def move():
        for place in places:
            Ticket.objects.filter(pk=ticket.pk).update(project=place)
        connections.close_all()

    with transaction.atomic(), ThreadPoolExecutor(1) as executor:
        announce(ticket, "TOLD", {})
        executor.submit(move).result()


@pytest.fixture
def elsewhere(db):
    """A project without members."""
    return Project.objects.create(name="Elsewhere")


async def test_a_row_committed_after_a_later_move(demo, elsewhere, ticket):
    """
    Its id is lower than the move's, but it was committed after the move, which ended the user's right.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await in_thread(announce_while_it_moves, ticket, elsewhere)
        await drain()
        assert "revoked" == (await socket.receive())["reason"]
    rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}").order_by("offset")
    events = await in_thread(lambda: [row.event for row in rows])
    assert ["TOLD", "UPDATE_TICKET"] == events[-2:]


async def test_a_socket_that_connects_after_the_object_moved_back(demo, project, elsewhere, ticket):
    """
    Rows that were committed while it was elsewhere, and have no offset yet, are not shown. No access check
    follows, since the handshake knows of the moves.
    """
    await in_thread(announce_while_it_moves, ticket, elsewhere, project)
    await in_thread(number, RIGHTS_SHARD, using=DEFAULT_DB_ALIAS)
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await drain()
        assert "resynced" == (await socket.receive())["type"]
