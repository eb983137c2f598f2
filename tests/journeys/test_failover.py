"""Tests of a failover of PostgreSQL: a standby takes the primary's place, and the site goes on with it."""

import json
from http.client import HTTPConnection

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import DEFAULT_DB_ALIAS, connections
from rest_framework.authtoken.models import Token

from pillarbox.types.hashids import encode
from tests.communicators import in_thread
from tests.followers import Follower, name_of
from tests.journeys.clients import all_is_there, following
from tests.standby import Pair
from tests.waiting import PATIENCE, until, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Survivor(Follower):
    """A follower that begins anew with each new epoch."""

    def __init__(self, *subjects):
        super().__init__(*subjects)
        #: The frames that began a new epoch.
        self.renewals = []

    def receive(self, frame):
        if frame["type"] == "resynced":
            name = name_of(frame)
            assert frame["epoch"] != self.positions[name]["epoch"]
            self.positions[name] = {"epoch": frame["epoch"], "offset": frame["offset"]}
            self.began[name], self.frames[name] = frame["offset"], []
            self.renewals.append(frame)
        elif frame["type"] != "snapshot":
            super().receive(frame)


@pytest.fixture
def servers():
    """Start a primary. It is stopped after the site's processes, which use it."""
    with Pair() as pair:
        yield pair


@pytest.fixture
def pair(servers, site):
    """Let the site and this test use a primary of their own, with a standby."""
    conf = connections.settings[DEFAULT_DB_ALIAS]
    site.environment["DATABASE_URL"] = servers.url
    site.manage("migrate", "-v0")
    servers.make_standby()
    before = {key: conf[key] for key in ("NAME", "OPTIONS")}
    where = dict(part.split("=") for part in servers.url.split("?")[1].split("&"))
    connections.close_all()
    conf |= {"NAME": "postgres", "OPTIONS": where}
    ContentType.objects.clear_cache()
    yield servers
    connections.close_all()
    conf |= before
    ContentType.objects.clear_cache()


def save_by_api(site, user, ticket, title):
    """Save a ticket by the API of the web process; return whether it was saved."""
    client = HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
    token = Token.objects.get_or_create(user=user)[0].key
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
    path = f"/api/tickets/{encode('ticket', ticket.pk)}/"
    client.request("PATCH", path, json.dumps({"title": title}), headers)
    status = client.getresponse().status
    client.close()
    return status == 200


@pytest.mark.parametrize("end", ["kill_primary", "fence"])
async def test_the_standby_takes_over(pair, site, demo, project, ticket, streams, client, end):
    """
    Whether the primary dies or becomes read-only: every process goes on with the new primary. A client that
    was shown what the new primary lacks is resynced, and then receives each change once.
    """
    await in_thread(site.start, "web", "worker", "beat", "daphne")
    one = client()
    one.follower = Survivor(*streams.values())
    async with following(one):
        assert await in_thread(save_by_api, site, demo, ticket, "On both")
        await until(lambda: "On both" in _titles(one))
        await in_thread(pair.wait_until_it_follows)
        await in_thread(pair.cut)
        for number in range(3):
            assert await in_thread(save_by_api, site, demo, ticket, f"Lost {number}")
        await until(lambda: "Lost 2" in _titles(one))
        await in_thread(getattr(pair, end))
        await in_thread(pair.promote)
        await in_thread(
            wait_until, lambda: save_by_api(site, demo, ticket, "Kept"), "the web goes on"
        )
        await until(lambda: len(one.follower.renewals) >= len(streams))
        for number in range(20):
            assert await in_thread(save_by_api, site, demo, ticket, f"New {number}")
        await until(lambda: "New 19" in _titles(one))
        rows = await all_is_there(streams, one)
    assert 1 == one.sockets
    assert {"epoch"} == {frame["reason"] for frame in one.follower.renewals}
    print(f"{rows} notifications from the new primary")


def _titles(client):
    return {
        frame["payload"]["title"] for frames in client.follower.frames.values() for frame in frames
    }
