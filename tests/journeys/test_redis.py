"""Tests with a Redis that is down, or has lost its data: notifications come from the database."""

from contextlib import AsyncExitStack, suppress
from uuid import uuid4

import pytest
import redis
from django.conf import settings

from config.embedded import Servers, redis_url
from pillarbox.models import NotificationOutbox
from tests.communicators import in_thread
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.deliveries import figure_becomes, is_live, pushed, receives
from tests.ports import free_port
from tests.redis_servers import is_copied, needs_redis_server, redis_server
from tests.rig.proxy import Proxy
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


async def test_redis_away(site, project, streams, client):
    """
    Sockets stay open, new ones can subscribe, notifications come from the database, and changes are saved.
    Once Redis is back, the channel layer delivers again.
    """
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(Proxy(settings.REDIS_URL))
        site.environment["REDIS_URL"] = line.url
        await in_thread(site.start, "worker", "beat", "daphne")
        early, late = client(), client()
        await stack.enter_async_context(following(early))
        async with writing(site, project, rate=20):
            await receives(early, 20)
            await line.refuse()
            await figure_becomes(site, "channel_layer_up", lambda is_up: not is_up)
            await stack.enter_async_context(following(late))
            before = await pushed(site)
            for one in (early, late):
                await receives(one, 40)
            assert before == await pushed(site)  # all were read from the database
            await line.accept()
            await is_live(site)
        rows = await all_is_there(streams, early, late)
    print(f"{rows} notifications")
    assert [1, 1] == [early.sockets, late.sockets]


@pytest.fixture
def own_redis(site, tmp_path):
    """Start a Redis for this site only, and yield its `Servers`."""
    folder = tmp_path / "redis"
    folder.mkdir()
    servers = Servers(folder, postgres=False)
    servers.start()
    site.environment["REDIS_URL"] = redis_url(folder)
    yield servers
    servers.stop()


async def test_redis_loses_its_data(site, project, streams, client, own_redis):
    """
    Redis is flushed, then stopped and started again. Only wake-ups, messages and groups are lost.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    one = client()
    async with following(one):
        async with writing(site, project, rate=40):
            await receives(one, 20)
            await in_thread(forget, site.environment["REDIS_URL"])
            await receives(one, 40)
            await is_live(site)
            await in_thread(own_redis.stop)
            await figure_becomes(site, "channel_layer_up", lambda is_up: not is_up)
            before = await pushed(site)
            await receives(one, 40)
            assert before == await pushed(site)  # all were read from the database
            await in_thread(own_redis.start)
            await is_live(site)
        rows = await all_is_there(streams, one)
    print(f"{rows} notifications")
    assert 1 == one.sockets


def forget(url):
    with redis.Redis.from_url(url) as client:
        client.flushall()


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru"])
async def test_redis_is_full(site, project, streams, client, own_redis, policy):
    """
    Another program fills Redis. Where nothing is evicted, Celery's messages are refused until there is place
    again; where keys are evicted, only wake-ups and messages are lost.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    one = client()
    async with following(one):
        async with writing(site, project, rate=40):
            await receives(one, 20)
            with redis.Redis.from_url(site.environment["REDIS_URL"]) as server:
                await in_thread(fill, server, policy)
                await rows_are_written(40)
                server.config_set("maxmemory", 0)
            await is_live(site)
            await receives(one, 40)
        rows = await all_is_there(streams, one)
    print(f"{rows} notifications")
    assert 1 == one.sockets


def fill(server, policy):
    """Write keys until Redis refuses one, or has evicted many."""
    server.config_set("maxmemory-policy", policy)
    server.config_set("maxmemory", server.info("memory")["used_memory"] + 2**20)
    with suppress(redis.OutOfMemoryError):
        while server.info("stats")["evicted_keys"] < 2000:
            server.set(f"other:{uuid4()}", "x" * 1000)


async def rows_are_written(number):
    """Wait until the outbox has so many more rows."""
    rows = NotificationOutbox.objects.all
    before = await in_thread(lambda: rows().count())
    await in_thread(wait_until, lambda: rows().count() >= before + number, "rows are written")


@needs_redis_server
async def test_a_replica_takes_the_primarys_place(site, project, streams, client, tmp_path):
    """
    The address leads to another server, and the old primary, now its replica, keeps its connections open.
    They are given up; only subscriptions may stay, since a replica passes messages on.
    """
    old, new = await in_thread(lambda: [free_port() for _ in range(2)])
    async with AsyncExitStack() as stack:
        for port in (old, new):
            folder = tmp_path / str(port)
            folder.mkdir()
            stack.enter_context(redis_server(folder, port, port=str(port)))
        before, after = (stack.enter_context(redis.Redis(port=port)) for port in (old, new))
        after.replicaof("127.0.0.1", old)
        await in_thread(wait_until, lambda: is_copied(new), "the replica has the data")
        line = await stack.enter_async_context(Proxy(f"redis://127.0.0.1:{old}"))
        site.environment["REDIS_URL"] = line.url
        stack.push_async_callback(in_thread, stop, site)  # before its Redis
        await in_thread(site.start, "worker", "beat", "daphne")
        early, late = client(), client()
        await stack.enter_async_context(following(early))
        async with writing(site, project, rate=40):
            await receives(early, 20)
            line.move(f"redis://127.0.0.1:{new}")
            after.replicaof("NO", "ONE")
            before.replicaof("127.0.0.1", new)
            after.config_resetstat()
            await in_thread(wait_until, lambda: is_used(after), "messages reach the primary")
            await stack.enter_async_context(following(late))
            await is_live(site)
            await receives(late, 40)
        rows = await all_is_there(streams, early, late)
    print(f"{rows} notifications")


def stop(site):
    for name in [*site.running]:
        site.stop(name)


def is_used(server):
    """Whether a server has received messages for sockets and for Celery's workers."""
    return {"cmdstat_eval", "cmdstat_lpush"} <= {*server.info("commandstats")}
