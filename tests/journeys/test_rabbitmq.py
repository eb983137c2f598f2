"""A journey with RabbitMQ as the broker, which is killed and comes back."""

import pytest

from tests.communicators import in_thread
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.deliveries import figure_becomes, is_live, pushed, receives
from tests.rabbitmq import needs_rabbitmq, rabbitmq_server

pytestmark = [pytest.mark.django_db(transaction=True), needs_rabbitmq]


async def test_rabbitmq_is_killed(site, project, streams, client, tmp_path):
    """
    Without the broker no save fails, and sockets are served from the database. Once it is back, saves wake
    the workers again. Each notification arrives once.
    """
    folder = tmp_path / "rabbitmq"
    folder.mkdir()
    with rabbitmq_server(folder) as broker:
        site.environment["CELERY_BROKER_URL"] = broker.url
        await in_thread(site.start, "worker", "beat", "daphne")
        one = client()
        async with following(one):
            async with writing(site, project, rate=20):
                await receives(one, 20)
                await in_thread(broker.kill)
                await receives(one, 20)
                await in_thread(broker.start)
                await is_live(site)
                await in_thread(site.stop, "beat")
                before = await pushed(site)
                await figure_becomes(
                    site, "delivery_delay_seconds_count", lambda count: count > before + 40
                )
            rows = await all_is_there(streams, one)
        for name in ("worker", "daphne"):
            await in_thread(site.stop, name)
    print(f"{rows} notifications")
    assert 1 == one.sockets
