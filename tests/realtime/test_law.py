"""The law of resuming: a socket that resumed from n saw what a socket that stayed saw."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest
from channels.layers import get_channel_layer
from django.db import DEFAULT_DB_ALIAS, transaction

from apps.outbox.locks import numbering_lock
from apps.outbox.models import NotificationOutbox, Stream, shard_of
from apps.outbox.numbering import number_batch
from apps.outbox.rows import read
from apps.realtime.envelope import envelope
from apps.realtime.groups import group_for, stream_for
from apps.realtime.rounds import rounds
from apps.tickets.models import Ticket
from tests.followers import Follower, announced, name_of, shown
from tests.law import number_all
from tests.sockets import collection, drain, in_thread, lose, signed_in, subject
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

STEPS = 30


class Writer:
    """Changes tickets, and does to what it announces whatever may happen to it. One step at a time."""

    def __init__(self, seed, ticket, settings):
        self.random = random.Random(seed)
        self.ticket, self.project, self.settings = ticket, ticket.project, settings
        self.streams = [
            stream_for("ticket", ticket.pk),
            stream_for("project.tickets", ticket.project_id),
        ]
        #: No socket comes in while the layer is the one that loses.
        self.door = asyncio.Lock()
        self.number = 0

    async def run(self):
        for _ in range(STEPS):
            await self.step()

    async def step(self):
        changes = (self.save, self.save_other, self.update, self.create, self.delete)
        change = self.random.choice((*changes, self.several, self.roll_back, self.fail))
        await in_thread(change)
        fate = self.random.choice(
            (drain, drain, self.lose, self.number_only, self.repeat, self.look, self.wait)
        )
        await fate()

    # Changes

    def title(self):
        self.number += 1
        return f"Number {self.number}"

    def save(self):
        self.ticket.title = self.title()
        self.ticket.save()

    def others(self):
        return list(self.project.tickets.exclude(pk=self.ticket.pk))

    def save_other(self):
        for other in self.random.sample(self.others(), k=min(1, len(self.others()))):
            other.title = self.title()
            other.save()

    def update(self):
        self.project.tickets.update(title=self.title())

    def create(self):
        title = self.title()
        Ticket.objects.bulk_create(Ticket(project=self.project, title=title) for _ in range(3))

    def delete(self):
        pks = [other.pk for other in self.others()]
        Ticket.objects.filter(pk__in=self.random.sample(pks, k=len(pks) // 2)).delete()

    def several(self):
        with transaction.atomic():
            for change in (self.save, self.create, self.update, self.save_other, self.delete):
                change()

    def roll_back(self):
        with transaction.atomic():
            self.several()
            transaction.set_rollback(True)

    def fail(self):
        """Change the ticket; in one of its streams nobody sees the change before it has failed."""
        stream = self.random.choice(self.streams)
        with numbering_lock(shard_of(stream), using=DEFAULT_DB_ALIAS):
            before = set(self.rows(stream).values_list("pk", flat=True))
            self.save()
            while number_batch(shard_of(stream), using=DEFAULT_DB_ALIAS):
                pass
            last = self.rows(stream).exclude(pk__in=before).get()
            self.rows(stream).filter(pk=last.pk).update(
                failed_at="2026-11-22T00:00Z", error_type="E"
            )

    # What becomes of what was announced

    async def lose(self):
        async with self.door:
            await lose(self.settings)

    async def number_only(self):
        await in_thread(number_all)

    async def repeat(self):
        """Send envelopes of what has its offset, in any order, some of them twice."""
        rows = await in_thread(self.numbered)
        chosen = self.random.choices(rows, k=8) if rows else []
        async with self.door:
            layer = get_channel_layer()
            for row in chosen:
                await layer.group_send(group_for(row.stream), envelope(row))

    async def look(self):
        await rounds().check_positions()

    async def wait(self):
        """Leave it to a later step."""

    def rows(self, stream):
        return NotificationOutbox.objects.filter(stream=stream)

    def numbered(self):
        """Return the last rows of the followed streams that have their offsets, and haven't failed."""
        which = 'stream = ANY(%(streams)s) AND "offset" IS NOT NULL AND failed_at IS NULL'
        return read(which, {"streams": self.streams}, using=DEFAULT_DB_ALIAS)[-20:]


class Client:
    """A member's client, whose socket is cut at random moments, at whatever the server is."""

    def __init__(self, seed, user, door, *subjects):
        self.random = random.Random(f"client {seed}")
        self.user, self.door, self.follower = user, door, Follower(*subjects)
        self.cuts = 0

    async def connect(self, stack):
        """Return a socket of its own that has asked to resume."""
        async with self.door:
            socket = await stack.enter_async_context(signed_in(self.user))
        wishes = self.follower.wishes()
        if self.random.random() < 0.5:
            await socket.send({"subscriptions": wishes})
        else:
            for wish in wishes:
                await socket.send(wish)
        return socket

    async def hear(self, socket, most=None):
        """Take what has come so far; or so many frames of it, and leave the rest."""
        await socket.send({"action": "ping", "ref": "so far"})
        while most is None or most > 0:
            frame = await socket.receive()
            self.follower.hear(frame)
            if frame["type"] == "pong":
                return
            most = None if most is None else most - 1

    async def come_and_go(self):
        """Follow for a while."""
        async with AsyncExitStack() as stack:
            socket = await self.connect(stack)
            for _ in range(self.random.randint(0, 3)):
                await self.hear(socket)
            await self.hear(socket, self.random.randint(0, 5))
        self.cuts += 1

    async def stay(self, socket, heads):
        """Follow until it has all that there is."""
        async with asyncio.timeout(PATIENCE):
            while not self.follower.stands_at(heads):
                self.follower.hear(await socket.receive())
        await self.hear(socket)  # and no more


def heads():
    return {stream.name: stream.head for stream in Stream.objects.all()}


@pytest.mark.parametrize("seed", range(20))
async def test_resuming_is_staying(settings, demo, ticket, seed):
    """
    Whatever is changed, lost, repeated, reordered or failed, and whenever the one is cut: both have the
    same, from where the one began, and it is what the database has, each offset once, in order.
    """
    chance = random.Random(f"settings {seed}")
    settings.REALTIME = settings.REALTIME | {
        "POSITION_CHECK_SECONDS": 1000,
        "REAUTHORISE_SECONDS": 1000,
        "CATCH_UP_ROWS": chance.choice((1, 3, 100)),
        # Below 100 bytes all are hints.
        "FRAME_BYTES": chance.choice((100, 400, 262_144)),
    }
    writer = Writer(seed, ticket, settings)
    about = {
        stream: name_of(it) for stream, it in zip(writer.streams, _subjects(ticket), strict=True)
    }
    stayer, resumer = (
        Client(f"{kind} {seed}", demo, writer.door, *_subjects(ticket)) for kind in ("one", "other")
    )
    async with AsyncExitStack() as stack:
        socket = await stayer.connect(stack)
        await stayer.hear(socket)
        async with AsyncExitStack() as first:
            await resumer.hear(await resumer.connect(first))

        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writer.run())
            while not writing.done():
                await resumer.come_and_go()

        resumed = await resumer.connect(stack)
        await writer.number_only()
        for _ in range(2):
            await rounds().check_positions()
        there = await in_thread(heads)
        ends = {name: there[stream] for stream, name in about.items()}
        await asyncio.gather(stayer.stay(socket, ends), resumer.stay(resumed, ends))

    began = resumer.follower.began
    assert [] == stayer.follower.words + resumer.follower.words
    assert stayer.follower.since(began) == resumer.follower.since(began)
    for stream, name in about.items():
        expected = await in_thread(announced, stream, began[name])
        assert expected == shown(resumer.follower.frames[name])
        assert list(range(began[name] + 1, ends[name] + 1)) == [offset for offset, *_ in expected]
    print(f"{resumer.cuts} cuts, {ends}")


def _subjects(ticket):
    return subject(ticket), collection(ticket.project)
