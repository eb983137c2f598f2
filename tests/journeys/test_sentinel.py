"""Tests of a Redis behind Sentinel, with one address for all; the master is killed under load."""

import time
from contextlib import AsyncExitStack

import pytest

from tests.communicators import in_thread
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.deliveries import is_live, receives
from tests.redis_servers import BehindSentinel, needs_redis_server
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), needs_redis_server]


@pytest.fixture
def redises(tmp_path):
    with BehindSentinel(tmp_path) as redises:
        yield redises


@pytest.fixture
def site(redises, site):
    """Return the site, which ends before its Redis does."""
    site.environment["REDIS_URL"] = redises.url
    return site


async def test_the_master_is_killed(site, project, streams, client, redises):
    """
    Each change arrives once and in order, and no save fails. The channel layer delivers again, and commits
    wake up the worker.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    await is_sound(site)
    early, late = client(), client()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(following(early))
        async with writing(site, project, rate=40):
            await receives(early, 40)
            await is_live(site)
            redises.master.kill()
            killed = time.monotonic()
            await in_thread(wait_until, redises.is_promoted, "the replica is the master")
            promoted = time.monotonic()
            await stack.enter_async_context(following(late))
            await is_live(site)
            live = time.monotonic()
            await receives(late, 40)
        rows = await all_is_there(streams, early, late)
    print(
        f"{rows} notifications; promoted after {promoted - killed:.1f} s, live {live - killed:.1f} s"
    )
    assert [1, 1] == [early.sockets, late.sockets]
    await is_sound(site)


async def is_sound(site):
    """Let the doctor check wake-ups and the broker. Raises CalledProcessError if it finds anything."""
    await in_thread(site.manage, "pillarbox", "doctor", "--only", "redis", "broker", "wake-up")
