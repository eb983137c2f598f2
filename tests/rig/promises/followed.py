"""A ticket of a site that clients follow while something is used up or broken."""

import asyncio
from contextlib import asynccontextmanager

from tests.rig import ledger
from tests.rig.checker import check_history
from tests.rig.clients import Clients
from tests.rig.scenarios import OURS
from tests.rig.site import CHANGE
from tests.waiting import until, wait_until


class Followed:
    """A ticket of a site, and clients that follow it."""

    def __init__(self, site, fixtures, clients):
        self.site, self.clients = site, clients
        self.token = fixtures["listeners"][0]["token"]
        (object_type, public_id, _), (_, _, stream) = fixtures["listeners"][0]["subjects"]
        self.collection = {"object_type": object_type, "id": public_id}
        self.ticket, self.project = int(stream.partition(":")[2]), fixtures["projects"][0]

    async def change(self, content):
        """Change it, and return when that is shown."""
        await asyncio.to_thread(self.site.change, self.ticket, self.project, content)
        await self.is_shown(content)

    def change_by(self, connection, content):
        """Change it on a connection that there is already."""
        streams = [f"project.tickets:{self.project}", f"ticket:{self.ticket}"]
        with connection.transaction():
            connection.execute(CHANGE, [content, self.ticket])
            connection.execute(ledger.RECORD, [streams, content, []])

    async def is_shown(self, content):
        """Return when each client was shown a content on each of its streams."""
        listeners = [one for one in self.clients.listeners if one.is_allowed]
        await until(
            lambda: all(content in one.shown[name] for one in listeners for name in one.streams)
        )


@asynccontextmanager
async def followed(site):
    """A ticket that clients follow; they were shown each change once, in order, and it was published."""
    fixtures = await asyncio.to_thread(site.prepare, clients=2, projects=1, tickets=1)
    history = []
    async with Clients(OURS, history, print) as clients:
        await clients.connect(fixtures["listeners"], site.daphne_port, through_proxies=False)
        yield Followed(site, fixtures, clients)
        await asyncio.to_thread(wait_until, site.is_drained, "all is published")
        known = [*site.committed(), *site.published(), *history, *clients.observed()]
    assert [] == check_history(known).errors
    assert [(0,)] == site.query("SELECT max(attempts) FROM pillarbox_notificationoutbox")
    for name in site.running:
        site.check(name)
