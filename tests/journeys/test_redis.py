"""Redis is away, or has forgotten everything: notifications come from the database."""

import time
from contextlib import AsyncExitStack

import pytest
import redis
from django.conf import settings

from config.embedded import Servers, redis_url
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.lags import FOUND_SECONDS, MARGIN_SECONDS, heard, is_live, live_since
from tests.rig.proxy import Proxy
from tests.sockets import in_thread, until

pytestmark = pytest.mark.django_db(transaction=True)


async def test_redis_away(site, project, streams, client):
    """
    Sockets stay, new ones come in and follow, notifications come from the database, in time; saves don't
    wait; and soon after Redis is back all is live again.
    """
    seconds = 12
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(Proxy(settings.REDIS_URL))
        site.environment["REDIS_URL"] = line.url
        await in_thread(site.start, "worker", "beat", "daphne")
        early, late = client(), client()
        await stack.enter_async_context(following(early))
        async with writing(site, project, rate=20) as report:
            await heard(early, 20)
            await line.refuse()
            gone = time.time()
            await stack.enter_async_context(following(late))
            await until(lambda: time.time() > gone + seconds)
            await line.accept()
            back = time.time()
            await until(lambda: is_live(early, back) and is_live(late, back))
        rows = await all_is_there(streams, early, late)
    away = [max(one.lags(gone, back)) for one in (early, late)]
    live = max(live_since(one, back) for one in (early, late))
    print(
        f"{rows} notifications; Redis away: after {max(away):.1f} s at the latest; live {live - back:.1f} s"
        f" after its return; the slowest change took {report['slowest']:.2f} s"
    )
    assert [1, 1] == [early.sockets, late.sockets]
    assert max(away) < FOUND_SECONDS + MARGIN_SECONDS
    assert live - back < FOUND_SECONDS + MARGIN_SECONDS
    assert report["slowest"] < 1


@pytest.fixture
def own_redis(site, tmp_path):
    """A Redis of the site's own."""
    folder = tmp_path / "redis"
    folder.mkdir()
    servers = Servers(folder, postgres=False)
    servers.start()
    site.environment["REDIS_URL"] = redis_url(folder)
    yield servers
    servers.stop()


async def test_redis_forgets_everything(site, project, streams, client, own_redis):
    """
    Emptied, and then ended and started again: bell, messages and groups are gone, and nothing else is.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    one = client()
    async with following(one):
        async with writing(site, project, rate=40):
            await heard(one, 20)
            await in_thread(forget, site.environment["REDIS_URL"])
            await heard(one, 40)
            await in_thread(own_redis.stop)
            await heard(one, 40)  # of the database
            await in_thread(own_redis.start)
            back = time.time()
            await until(lambda: is_live(one, back))
        rows = await all_is_there(streams, one)
    print(f"{rows} notifications; live {live_since(one, back) - back:.1f} s after Redis was back")
    assert 1 == one.sockets
    assert max(lag for _, lag in one.heard) < FOUND_SECONDS + MARGIN_SECONDS


def forget(url):
    with redis.Redis.from_url(url) as client:
        client.flushall()
