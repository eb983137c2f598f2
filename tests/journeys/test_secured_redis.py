"""Tests with a Redis behind TLS whose user has the rights that the deployment page gives it."""

import pytest
import redis

from tests.communicators import in_thread
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.deliveries import is_live, receives
from tests.ports import free_port
from tests.redis_servers import Certificates, documented_user, needs_redis_server, redis_server

pytestmark = [pytest.mark.django_db(transaction=True), needs_redis_server]


@pytest.fixture
def secured(tmp_path):
    """Run a Redis with TLS; yield its address for a user with few rights."""
    certificates, port = Certificates(tmp_path / "certificates"), free_port()
    folder = tmp_path / "redis"
    folder.mkdir()
    url = certificates.address(port)
    with (
        redis_server(folder, port, tls_port=str(port), **certificates.options),
        redis.Redis.from_url(url) as server,
    ):
        server.execute_command(*documented_user("celery"))
        yield url.replace("localhost", "celery:word@localhost")
        assert [] == server.acl_log()  # nothing was refused


@pytest.fixture
def site(secured, site):
    """Return the site, which ends before its Redis does."""
    site.environment["REDIS_URL"] = secured
    return site


async def test_tls_and_few_rights(site, project, streams, client):
    """
    Layer, wake-ups and broker work.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    one = client()
    async with following(one):
        async with writing(site, project, rate=40):
            await receives(one, 20)
            await is_live(site)
        await all_is_there(streams, one)
    await in_thread(site.manage, "pillarbox", "doctor", "--only", "redis", "broker", "wake-up")
