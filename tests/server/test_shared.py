"""Our sockets beside a project's own consumers, under our Daphne, in the project's stack of middleware."""

import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.communicators import drain, subject, write
from tests.processes import Site
from tests.server import shared_settings
from tests.sockets.losing import cookie_of
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(tmp_path, settings):
    """Run our Daphne with the project's application; the tests publish to its channel layer."""
    settings.CHANNEL_LAYERS = shared_settings.CHANNEL_LAYERS
    settings.PILLARBOX = settings.PILLARBOX | {"CHANNEL_LAYER": "notifications"}
    with Site(tmp_path) as site:
        site.environment["DJANGO_SETTINGS_MODULE"] = shared_settings.__name__
        command = site.commands["daphne"]
        site.commands["daphne"] = command.replace("config.asgi", "tests.server.shared_application")
        site.start("daphne")
        yield site


async def test_both_are_served(site, demo, ticket):
    """
    Each consumer has its own channel layer, and the session of the client.
    """
    await drain()
    _, ((_, cookie), (_, origin)) = await cookie_of(demo)
    options = {
        "additional_headers": {"Cookie": cookie.decode()},
        "origin": origin.decode(),
        "open_timeout": PATIENCE,
    }
    address = f"ws://127.0.0.1:{site.daphne_port}/ws"
    async with (
        connect(f"{address}/notifications/", **options) as ours,
        connect(f"{address}/chat/", **options) as theirs,
    ):
        assert "hello" == json.loads(await ours.recv())["type"]
        await ours.send(json.dumps(subject(ticket)))
        assert "subscribed" == json.loads(await ours.recv())["type"]
        await theirs.send(json.dumps("Good morning"))
        assert [demo.username, "Good morning"] == json.loads(await theirs.recv())
        await write(ticket, "Changed")
        await drain()
        assert "Changed" == json.loads(await ours.recv())["payload"]["title"]
    with pytest.raises(InvalidStatus):
        await connect(f"{address}/chat/", **options | {"origin": "http://evil.example"})
