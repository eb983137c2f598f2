"""Conditions on deliveries: how many reached a client, and whether the channel layer brought them."""

import asyncio

from tests.metrics import scraped
from tests.waiting import PATIENCE, until


async def receives(client, count):
    """Wait until a client has received so many more notifications."""
    expected = len(client.received_frames) + count
    await until(lambda: len(client.received_frames) >= expected)


async def figure(site, name):
    """Return the value of a metric of a site's Daphne."""
    return (await asyncio.to_thread(scraped, site.daphne_port))[f"notifier_{name}"]


async def pushed(site):
    """Return how many notifications Daphne received from the channel layer. It read the others itself."""
    return await figure(site, "delivery_delay_seconds_count")


async def figure_becomes(site, name, is_it):
    """Wait until a metric of a site's Daphne fulfils a condition."""
    async with asyncio.timeout(PATIENCE):
        while not is_it(await figure(site, name)):
            await asyncio.sleep(0.05)


async def is_live(site):
    """Wait until the channel layer delivers again. Restarts dead processes, as a supervisor does."""
    before = await pushed(site)
    async with asyncio.timeout(PATIENCE):
        while await pushed(site) == before:
            await asyncio.to_thread(restart_dead_processes, site)


def restart_dead_processes(site):
    """Restart the processes that have ended by themselves."""
    for name, process in list(site.running.items()):
        if (
            process.poll() is not None
        ):  # pragma: no cover  # Celery's worker ends by itself at times
            site.start(name)
