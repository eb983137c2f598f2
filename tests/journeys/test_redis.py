"""Redis is away, or has forgotten everything: notifications come from the database."""

from contextlib import AsyncExitStack

import pytest
import redis
from django.conf import settings

from config.embedded import Servers, redis_url
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.deliveries import comes, heard, is_live, pushed
from tests.rig.proxy import Proxy
from tests.sockets import in_thread

pytestmark = pytest.mark.django_db(transaction=True)


async def test_redis_away(site, project, streams, client):
    """
    Sockets stay, new ones come in and follow, notifications come from the database, and changes are saved;
    once Redis is back all is live again.
    """
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(Proxy(settings.REDIS_URL))
        site.environment["REDIS_URL"] = line.url
        await in_thread(site.start, "worker", "beat", "daphne")
        early, late = client(), client()
        await stack.enter_async_context(following(early))
        async with writing(site, project, rate=20):
            await heard(early, 20)
            await line.refuse()
            await comes(site, "channel_layer_up", lambda is_up: not is_up)
            await stack.enter_async_context(following(late))
            before = await pushed(site)
            for one in (early, late):
                await heard(one, 40)
            assert before == await pushed(site)  # all of it came from the database
            await line.accept()
            await is_live(site)
        rows = await all_is_there(streams, early, late)
    print(f"{rows} notifications")
    assert [1, 1] == [early.sockets, late.sockets]


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
            await is_live(site)
            await in_thread(own_redis.stop)
            await comes(site, "channel_layer_up", lambda is_up: not is_up)
            before = await pushed(site)
            await heard(one, 40)
            assert before == await pushed(site)  # all of it came from the database
            await in_thread(own_redis.start)
            await is_live(site)
        rows = await all_is_there(streams, one)
    print(f"{rows} notifications")
    assert 1 == one.sockets


def forget(url):
    with redis.Redis.from_url(url) as client:
        client.flushall()
