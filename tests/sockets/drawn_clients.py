"""Clients that resume at random, and random ways in which notifications reach them or get lost."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connections

from pillarbox.layer.envelope import envelope
from pillarbox.models import RIGHTS, RIGHTS_SHARD, SHARDS
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.stream.numbering import number
from pillarbox.stream.rendering.batches.due_shards import shards_to_render
from pillarbox.stream.rendering.renderer import render_batches
from pillarbox.stream.rows import read
from pillarbox.types.groups import group_for
from tests.communicators import check_twice, connected, in_thread, token_of
from tests.rendering import number_all, render_all
from tests.sockets.losing import cookie_of
from tests.waiting import PATIENCE


class Client:
    """A user's client. It subscribes again to streams that it lost, mostly from its last position."""

    def __init__(self, user, world, chance, subjects, *, by_cookie):
        self.user, self.world, self.random, self.subjects = user, world, chance, subjects
        self.by_cookie = by_cookie
        self.stack = None
        #: Its credential, and when it got that: the number of committed transactions, and the password.
        self.credential, self.since, self.password = "", 0, ""
        #: The title and the subscription's name of each notification that it received, without DELETEs, each
        #: with a function that returns whether its credential was valid at a moment.
        self.shown = []
        #: The position of each subscription; and the last known ones, which outlive subscriptions.
        self.follows, self.stood = {}, {}
        self.resynced = self.closed = 0

    async def connect(self):
        """Connect and subscribe, if the user may sign in and has no socket yet."""
        users = get_user_model().objects.filter(pk=self.user.pk, is_active=True)
        user = None if self.stack else await in_thread(users.first)
        if user is None:
            return
        self.since, self.password = self.world.committed, user.password
        headers = (await cookie_of(user))[1] if self.by_cookie else await token_of(user)
        self.credential = headers[0][1].decode().replace("=", " ").split()[1]
        self.stack = AsyncExitStack()
        self.socket = await self.stack.enter_async_context(connected(headers))
        await self.ask()

    async def disconnect(self):
        await self.receive_all()
        await self.leave()

    async def leave(self):
        stack, self.stack, self.follows = self.stack, None, {}
        await (stack or AsyncExitStack()).aclose()

    async def ask(self):
        """Subscribe to each subject that has no subscription: often from its last position, else anew."""
        for name, about in self.subjects.items() if self.stack else ():
            if name not in self.follows:
                since = self.stood.get(name)
                resumes = since and self.random.random() < 0.7
                await self.socket.send({**about, "since": since} if resumes else about)
        await self.receive_all()

    async def receive_all(self):
        """Receive and check all frames that have arrived; leave if the server has closed the socket."""
        if self.stack:
            await self.socket.send({"action": "ping", "ref": "so far"})
        while self.stack and (frame := await self.receive())["type"] != "pong":
            self.take(frame)

    async def receive(self):
        """Return the next frame, or a last ``pong`` if the server has closed the socket."""
        message = await self.socket.communicator.receive_output(PATIENCE)
        if message["type"] == "websocket.close":
            assert 4401 == message["code"], message
            self.closed += 1
            await self.leave()
            return {"type": "pong"}
        return json.loads(message["text"])

    def take(self, frame):
        kind = frame["type"]
        if kind in ("subscribed", "resynced"):
            self.resynced += kind == "resynced"
            self.stand(frame, frame)
        elif kind == "unsubscribed":
            del self.follows[name_of(frame)]
        elif kind.isupper() or kind == "skipped":
            about = frame.get("subscription", frame)
            assert self.follows[name_of(about)]["offset"] + 1 == frame["offset"], frame
            self.stand(about, frame)
            if kind.isupper() and not kind.startswith("DELETE"):
                title = frame["payload"]["title"]
                self.shown.append((title, name_of(about), self.had_credential()))

    def stand(self, about, frame):
        position = {"epoch": frame["epoch"], "offset": frame["offset"]}
        self.follows[name_of(about)] = self.stood[name_of(about)] = position

    def had_credential(self):
        """
        Return a function that returns whether the present credential was valid at a moment, or not made yet.
        """
        since, credential = self.since, self.credential
        password = self.password if self.by_cookie else None

        def is_valid(moment):
            is_same = password in (None, moment.passwords.get(self.user.pk))
            return moment.number < since or (credential in moment.credentials and is_same)

        return is_valid


def name_of(about):
    return f"{about['object_type']} {about['id']}"


class Delivery:
    """The steps of a worker, taken one at a time, and a channel layer that loses and delays messages."""

    def __init__(self, chance):
        self.random = chance
        #: Primary keys of the rows that were sent, lost or held back.
        self.seen = set()
        self.held = []
        self._worker, self._rendering = ThreadPoolExecutor(1), iter(())

    async def render(self):
        """Render and number all rows that no worker has claimed."""
        await in_thread(render_all)

    async def render_slowly(self):
        """Number the rows rendered in the last such step; then render all rows, and number some of them."""
        await asyncio.to_thread(self._worker.submit(self._render_slowly).result)

    async def end(self):
        """Number the rendered rows."""
        await asyncio.to_thread(self._worker.submit(self._number_rendered).result)
        self._worker.shutdown()

    def _render_slowly(self):
        self._number_rendered()
        shards = shards_to_render(using=DEFAULT_DB_ALIAS)
        self._rendering = render_batches(
            [*shards, RIGHTS_SHARD], using=DEFAULT_DB_ALIAS, ends_process=False, then=lambda _: None
        )
        next(self._rendering, None)

    def _number_rendered(self):
        for _ in self._rendering:
            pass
        connections.close_all()

    async def number_some(self):
        """Number a batch of some of the shards, perhaps including that of ends of rights."""
        shards = self.random.sample(range(SHARDS), k=self.random.randint(1, SHARDS))
        await in_thread(lambda: [number(shard, using=DEFAULT_DB_ALIAS) for shard in shards])

    async def deliver(self):
        """
        Send some numbered rows, in any order; hold some back, and lose some, most ends of rights among them.
        """
        rows = await in_thread(read, '"offset" IS NOT NULL', {}, using=DEFAULT_DB_ALIAS)
        waiting = [*self.held, *(row for row in rows if row.pk not in self.seen)]
        self.random.shuffle(waiting)
        self.seen.update(row.pk for row in waiting)
        self.held = []
        for row in waiting:
            fate = self.random.random() * (3 if row.stream == RIGHTS else 1)
            if fate < 0.5:
                await send(row)
            elif fate < 0.8:
                self.held.append(row)


async def send(row):
    await get_channel_layer().group_send(group_for(row.stream), envelope(row))


async def deliver_without_ends():
    """Render and number all rows, and send every row to the channel layer, except ends of rights."""
    rows = await in_thread(_numbered)
    for row in rows:
        await send(row)


def _numbered():
    number_all()
    return read(
        '"offset" IS NOT NULL AND stream <> %(rights)s', {"rights": RIGHTS}, using=DEFAULT_DB_ALIAS
    )


async def number_by_check(settings):
    """Have this process render and number all rows, as if no worker had done it for long."""
    known = settings.PILLARBOX
    settings.PILLARBOX = known | {"POSITION_CHECK_SECONDS": 0.001}
    await housekeeping().positions.render_overdue()
    await check_twice()
    settings.PILLARBOX = known
