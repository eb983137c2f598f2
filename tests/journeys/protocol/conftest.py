"""One Daphne for all, and what of the protocol it was seen to say."""

from contextlib import asynccontextmanager

import psutil
import pytest
import websockets
from django.db import connection

from tests.journeys.protocol.clients import PATH, Client, headers_of, serve
from tests.processes import Site
from tests.protocol import Protocol
from tests.rig.processes import wait_until


@pytest.fixture(scope="package")
def server(tmp_path_factory, django_db_setup):
    with Site(tmp_path_factory.mktemp("server")) as site:
        serve(site)
        yield site


@pytest.fixture
def site(server):
    """One Daphne for all; nothing goes wrong in it that it would have to log, and it is left at rest."""
    said = len(server.log("daphne"))
    yield server
    said = server.log("daphne")[said:]
    assert "Traceback" not in said or "A subscription failed" in said  # which somebody wanted
    process = psutil.Process(server.running["daphne"].pid)
    wait_until(lambda: not _has_clients(process), "all clients are gone")
    # Or it might stand in the way of emptying the tables.
    wait_until(lambda: not _is_reading(), "Daphne reads nothing")


def _has_clients(process):
    states = {it.status for it in process.net_connections("tcp4") if it.laddr.port != 0}
    return psutil.CONN_ESTABLISHED in states


def _is_reading():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_stat_activity WHERE application_name = 'daphne' AND state <> 'idle'"
            " AND datname = current_database()"
        )
        return cursor.rowcount


@pytest.fixture(scope="package")
def protocol():
    return Protocol()


@pytest.fixture
def connect(site, protocol):
    """Open a socket with any headers."""

    @asynccontextmanager
    async def connect(**options):
        url = f"ws://127.0.0.1:{site.daphne_port}{PATH}"
        async with websockets.connect(url, **options) as opened:
            yield Client(opened, protocol)

    return connect


@pytest.fixture
def enter(connect):
    """Open a socket with a user's token, past its hello."""

    @asynccontextmanager
    async def enter(user, **options):
        async with connect(additional_headers=await headers_of(user), **options) as client:
            assert "hello" == (await client.hear())["type"]
            yield client

    return enter
