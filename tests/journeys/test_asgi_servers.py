"""Tests of other ASGI servers than our Daphne: each gives what the deployment guide says."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from rest_framework.authtoken.models import Token
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pillarbox.models import Process
from tests.communicators import in_thread
from tests.journeys.clients import all_is_there, following, writing
from tests.journeys.deliveries import receives
from tests.waiting import PATIENCE, until, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = Path(settings.BASE_DIR / "apps/pillarbox/docs/howto/deploy.md").read_text()
#: The cells of the page's table, by the server's command.
SERVERS = {
    command: cells.split(" | ")
    for command, cells in re.findall(
        r"^\| `(daphne|uvicorn|hypercorn|granian)[^`]*` \| (.*) \|$", PAGE, re.MULTILINE
    )
}
OPTIONS = {
    "daphne": "--bind 127.0.0.1 --port $DAPHNE_PORT",
    "uvicorn": "--host 127.0.0.1 --port $DAPHNE_PORT",
    "hypercorn": "--bind 127.0.0.1:$DAPHNE_PORT",
    "granian": "--interface asgi --host 127.0.0.1 --port $DAPHNE_PORT",
}


@pytest.fixture(params=OPTIONS)
def server(request, site):
    """Let another server than our Daphne serve the site's sockets; return its command."""
    site.commands["daphne"] = (
        f"exec {request.param} {OPTIONS[request.param]} config.asgi:application"
    )
    return request.param


@pytest.mark.usefixtures("server")
async def test_each_change_arrives_once(site, project, streams, client):
    """
    Under load, and across a restart by SIGTERM: clients resume, and miss nothing.
    """
    await in_thread(site.start, "worker", "beat", "daphne")
    clients = [client() for _ in range(5)]
    async with following(*clients):
        async with writing(site, project, rate=20):
            await receives(clients[0], 20)
            await in_thread(site.stop, "daphne")
            await in_thread(site.start, "daphne")
            await until(lambda: all(one.sockets > 1 for one in clients))
            for one in clients:
                await receives(one, 20)
        rows = await all_is_there(streams, *clients)
    print(f"{rows} notifications")


def end_of(socket):
    """Return the code with which the server ends a socket; 1006 if there is none."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            socket.recv(PATIENCE)
    return closed.value.rcvd.code if closed.value.rcvd else 1006


def test_codes_and_reports_are_as_the_page_says(server, site, demo):
    """
    The close codes of a large frame and of SIGTERM, and whether the process reports itself.
    """
    site.start("daphne")
    token = Token.objects.create(user=demo).key
    url = f"ws://127.0.0.1:{site.daphne_port}/ws/notifications/"
    options = {"additional_headers": {"Authorization": f"Token {token}"}, "proxy": None}
    with connect(url, **options) as socket:
        socket.recv(PATIENCE)
        socket.send("x" * 20_000)
        large = end_of(socket)
    reports = Process.objects.filter(kind="daphne")
    reports_itself = "yes" == SERVERS[server][2]
    if reports_itself:
        wait_until(reports.all().exists, "the process reports itself")
    with connect(url, **options) as socket:
        socket.recv(PATIENCE)
        site.stop("daphne")
        stopped = end_of(socket)
    assert not reports.exists()
    assert [str(large), str(stopped)] == SERVERS[server][:2]
