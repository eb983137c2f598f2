"""The law of resuming: a socket that resumed from an offset received the same as a socket that stayed."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest
from channels.layers import get_channel_layer
from django.db import DEFAULT_DB_ALIAS, transaction

from apps.tickets.models import Ticket
from pillarbox.layer.envelope import envelope
from pillarbox.models import NotificationOutbox, Stream
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.stream.rows import read
from pillarbox.types.groups import group_for, stream_for
from tests.communicators import check_twice, collection, drain, in_thread, lose, signed_in, subject
from tests.followers import Follower, announced, name_of, shown
from tests.rendering import number_all
from tests.seeds import SEEDS
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

STEPS = 30


class Writer:
    """
    A writer that changes tickets, and delivers, delays, loses or repeats their rows, one step at a time.
    """

    def __init__(self, seed, ticket, settings):
        self.random = random.Random(seed)
        self.ticket, self.project, self.settings = ticket, ticket.project, settings
        self.streams = [
            stream_for("ticket", ticket.pk),
            stream_for("project.tickets", ticket.project_id),
        ]
        #: Held while the settings name a layer that loses messages; no socket connects then.
        self.layer_lock = asyncio.Lock()
        self.number = 0

    async def run(self):
        for _ in range(STEPS):
            await self.step()

    async def step(self):
        changes = (self.save, self.save_other, self.update, self.create, self.delete)
        change = self.random.choice((*changes, self.several, self.roll_back, self.fail))
        await in_thread(change)
        fate = self.random.choice(
            (drain, drain, self.lose, self.number_only, self.repeat, self.check, self.wait)
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
        """Change the ticket so that in one of its streams the change can't be rendered."""
        rows = self.rows(self.random.choice(self.streams))
        before = set(rows.values_list("pk", flat=True))
        self.save()
        new = rows.exclude(pk__in=before)
        assert 1 == new.update(failed_at="2026-11-22T00:00Z", error_type="E")

    # Delivery

    async def lose(self):
        async with self.layer_lock:
            await lose(self.settings)

    async def number_only(self):
        await in_thread(number_all)

    async def repeat(self):
        """Send the envelopes of numbered rows, in any order, some of them twice."""
        rows = await in_thread(self.numbered)
        chosen = self.random.choices(rows, k=8) if rows else []
        async with self.layer_lock:
            layer = get_channel_layer()
            for row in chosen:
                await layer.group_send(group_for(row.stream), envelope(row))

    async def check(self):
        await housekeeping().positions.check()

    async def wait(self):
        """Leave the rows to a later step."""

    def rows(self, stream):
        return NotificationOutbox.objects.filter(stream=stream)

    def numbered(self):
        """Return the last numbered rows of the followed streams that haven't failed."""
        which = 'stream = ANY(%(streams)s) AND "offset" IS NOT NULL AND failed_at IS NULL'
        return read(which, {"streams": self.streams}, using=DEFAULT_DB_ALIAS)[-20:]


class Client:
    """A member's client, whose socket is cut at random moments."""

    def __init__(self, seed, user, layer_lock, *subjects):
        self.random = random.Random(f"client {seed}")
        self.user, self.layer_lock, self.follower = user, layer_lock, Follower(*subjects)
        self.cuts = 0

    async def connect(self, stack):
        """Return a new socket that has requested to resume."""
        async with self.layer_lock:
            socket = await stack.enter_async_context(signed_in(self.user))
        requests = self.follower.requests()
        if self.random.random() < 0.5:
            await socket.send({"subscriptions": requests})
        else:
            for request in requests:
                await socket.send(request)
        return socket

    async def receive_all(self, socket, most=None):
        """Receive all frames that have arrived; or a number of them, and leave the rest."""
        await socket.send({"action": "ping", "ref": "so far"})
        while most is None or most > 0:
            frame = await socket.receive()
            self.follower.receive(frame)
            if frame["type"] == "pong":
                return
            most = None if most is None else most - 1

    async def come_and_go(self):
        """Connect, receive for a while, and disconnect."""
        async with AsyncExitStack() as stack:
            socket = await self.connect(stack)
            for _ in range(self.random.randint(0, 3)):
                await self.receive_all(socket)
            await self.receive_all(socket, self.random.randint(0, 5))
        self.cuts += 1

    async def stay(self, socket, heads):
        """Receive until all rows have arrived."""
        async with asyncio.timeout(PATIENCE):
            while not self.follower.is_at(heads):
                self.follower.receive(await socket.receive())
        await self.receive_all(socket)  # nothing more arrives


def heads():
    return {stream.name: stream.head for stream in Stream.objects.all()}


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_resuming_is_staying(settings, demo, ticket, seed):
    """
    Notifications are lost, repeated, reordered, or fail, and one client is cut at random. From the position
    where it began, both clients have received the rows of the database, each offset once, in order.
    """
    chance = random.Random(f"settings {seed}")
    settings.PILLARBOX = settings.PILLARBOX | {
        "POSITION_CHECK_SECONDS": 1000,
        "REAUTHORISE_SECONDS": 1000,
        "CATCH_UP_ROWS": chance.choice((1, 3, 100)),
        # With 100 bytes, no envelope has a frame.
        "FRAME_BYTES": chance.choice((100, 400, 262_144)),
    }
    writer = Writer(seed, ticket, settings)
    about = {
        stream: name_of(it) for stream, it in zip(writer.streams, _subjects(ticket), strict=True)
    }
    stayer, resumer = (
        Client(f"{kind} {seed}", demo, writer.layer_lock, *_subjects(ticket))
        for kind in ("one", "other")
    )
    async with AsyncExitStack() as stack:
        socket = await stayer.connect(stack)
        await stayer.receive_all(socket)
        async with AsyncExitStack() as first:
            await resumer.receive_all(await resumer.connect(first))

        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writer.run())
            while not writing.done():
                await resumer.come_and_go()

        resumed = await resumer.connect(stack)
        await writer.number_only()
        await check_twice()
        there = await in_thread(heads)
        ends = {name: there[stream] for stream, name in about.items()}
        await asyncio.gather(stayer.stay(socket, ends), resumer.stay(resumed, ends))

    began = resumer.follower.began
    assert [] == stayer.follower.ended + resumer.follower.ended
    assert stayer.follower.since(began) == resumer.follower.since(began)
    for stream, name in about.items():
        expected = await in_thread(announced, stream, began[name])
        assert expected == shown(resumer.follower.frames[name])
        assert list(range(began[name] + 1, ends[name] + 1)) == [offset for offset, *_ in expected]
    print(f"{resumer.cuts} cuts, {ends}")


def _subjects(ticket):
    return subject(ticket), collection(ticket.project)
