"""A random walk through changes of rights, deliveries and resumptions, and the check of all shown frames."""

import asyncio
import random

from tests.communicators import check_twice, collection, drain, in_thread, lose, subject
from tests.sockets.drawn_clients import Client, Delivery, name_of, number_by_check
from tests.sockets.drawn_rights import World
from tests.waiting import PATIENCE


class Walk:
    """A world with clients, and the steps that may be taken in it."""

    def __init__(self, seed, drawn):
        users, projects, tickets = drawn
        self.seed, self.chance = seed, random.Random(f"fates {seed}")
        self.world, self.delivery = World(seed, *drawn), Delivery(self.chance)
        self.streams = {
            **{name_of(subject(one)): f"ticket:{one.pk}" for one in tickets},
            **{name_of(collection(one)): f"project.tickets:{one.pk}" for one in projects},
        }
        subjects = [*map(subject, tickets), *map(collection, projects)]
        abouts = {name_of(about): about for about in subjects}
        self.clients = [
            Client(user, self.world, self.chance, abouts, by_cookie=by_cookie)
            for user, by_cookie in zip((*users, users[0]), (False, False, True), strict=True)
        ]

    async def go(self, settings, steps, *more_fates):
        """Take random steps, ``more_fates`` included; then check all frames that clients were shown."""
        await in_thread(self.world.restore)
        await drain()
        for client in self.clients:
            await client.connect()
        delivery = self.delivery
        fates = (
            *(
                delivery.render,
                delivery.render_slowly,
                delivery.render_slowly,
                delivery.number_some,
            ),
            *(delivery.deliver, delivery.deliver, drain, check_twice, *more_fates),
            *(lambda: lose(settings), lambda: number_by_check(settings)),
        )
        for _ in range(steps):
            await self.step(fates)
        await in_thread(self.world.end)
        await delivery.end()
        await drain()
        await check_twice()
        for client in self.clients:
            await client.disconnect()
        await self.all_is_shown_again()
        self.check()
        print([(len(one.shown), one.resynced, one.closed) for one in self.clients])

    async def step(self, fates):
        """Commit a transaction, deliver some rows, and let a client act."""
        world, chance = self.world, self.chance
        await in_thread(world.toggle_late if chance.random() < 0.1 else world.change)
        for fate in chance.choices(fates, k=chance.choice((0, 1, 2))):
            await fate()
        client = chance.choice(self.clients)
        if chance.random() < 0.2:
            await client.disconnect()
        await client.connect()
        await client.ask()

    async def all_is_shown_again(self):
        """
        Give all rights back, and return once each client has been shown the present state of each ticket.
        """
        await in_thread(self.world.restore)
        await drain()
        for client in self.clients:
            await client.connect()
            assert client.follows.keys() == client.subjects.keys()
        first = self.world.titles + 1
        await in_thread(self.world.restore)
        expected = {str(title) for title in range(first, self.world.titles + 1)}
        await drain()
        async with asyncio.timeout(PATIENCE):
            for client in self.clients:
                while not expected <= {title for title, *_ in client.shown}:
                    await check_twice()
                    await client.receive_all()
                await client.disconnect()

    def check(self):
        """Fail if a client was shown a notification that its user could not see when it was committed."""
        for client in self.clients:
            for title, name, had_credential in client.shown:
                stream, moment = self.streams[name], self.world.moments[title]
                found = (self.seed, client.user.username, stream, title, moment.number)
                assert stream in moment.visible.get(client.user.pk, ()), found
                assert had_credential(moment), found
