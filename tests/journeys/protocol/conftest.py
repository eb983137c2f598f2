"""Fixtures: one Daphne for all tests of the protocol, and a record of what they saw."""

from contextlib import asynccontextmanager

import psutil
import pytest
import websockets
from django.db import connection

from tests.journeys.protocol.clients import PATH, Client, headers_of, serve
from tests.processes import Site
from tests.protocol import Protocol
from tests.waiting import wait_until


@pytest.fixture(scope="package")
def server(tmp_path_factory, django_db_setup):
    with Site(tmp_path_factory.mktemp("server")) as site:
        serve(site)
        yield site


@pytest.fixture
def site(server):
    """Yield the Daphne of all these tests. Then fail if it logged an error, and wait until it is idle."""
    logged = len(server.log("daphne"))
    yield server
    logged = server.log("daphne")[logged:]
    assert "Traceback" not in logged or "A subscription failed" in logged  # which a test caused
    process = psutil.Process(server.running["daphne"].pid)
    wait_until(lambda: not _has_clients(process), "all clients are gone")
    # Its locks could block the emptying of the tables.
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
    """Return a function that opens a socket, with any options of `websockets.connect`."""

    @asynccontextmanager
    async def connect(**options):
        url = f"ws://127.0.0.1:{site.daphne_port}{PATH}"
        async with websockets.connect(url, **options) as opened:
            yield Client(opened, protocol)

    return connect


@pytest.fixture
def enter(connect):
    """Return a function that opens a socket with a user's token, and receives its hello."""

    @asynccontextmanager
    async def enter(user, **options):
        async with connect(additional_headers=await headers_of(user), **options) as client:
            assert "hello" == (await client.receive_any())["type"]
            yield client

    return enter
