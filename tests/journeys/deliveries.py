"""What clients hear, and by which way it came to them."""

import asyncio

from tests.metrics import scraped
from tests.waiting import PATIENCE, until


async def heard(client, count):
    """Return when a client has heard so many more."""
    until_then = len(client.heard) + count
    await until(lambda: len(client.heard) >= until_then)


async def figure(site, name):
    """Return what a site's Daphne counts."""
    return (await asyncio.to_thread(scraped, site.daphne_port))[f"notifier_{name}"]


async def pushed(site):
    """Return how many notifications the channel layer has brought to Daphne; the others it read itself."""
    return await figure(site, "delivery_delay_seconds_count")


async def comes(site, name, is_it):
    """Return when what a site's Daphne counts is as it should be."""
    async with asyncio.timeout(PATIENCE):
        while not is_it(await figure(site, name)):
            await asyncio.sleep(0.05)


async def is_live(site):
    """Return when the channel layer brings notifications. What has died is started, as a supervisor does."""
    before = await pushed(site)
    async with asyncio.timeout(PATIENCE):
        while await pushed(site) == before:
            await asyncio.to_thread(start_what_died, site)


def start_what_died(site):
    """Start the processes that have ended by themselves."""
    for name, process in list(site.running.items()):
        if process.poll() is not None:  # pragma: no cover  # Celery's worker ends so at times
            site.start(name)
