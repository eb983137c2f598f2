"""The real processes, with nothing in the broker for them to do, and their clients."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.realtime.groups import stream_for
from tests.journeys.clients import Client
from tests.processes import Site
from tests.sockets import collection, subject
from workers import bell
from workers.app import app


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The processes; none is started yet."""
    with app.pool.acquire(block=True) as connection:
        app.amqp.queues["outbox"](connection.default_channel).purge()
    bell.clear()  # an earlier test may have rung, and its message is gone now
    with Site(tmp_path) as site:
        yield site


@pytest.fixture
def streams(ticket: Any) -> dict[str, dict[str, str]]:
    """What the clients follow: by stream, as they name it."""
    return {
        stream_for("ticket", ticket.pk): subject(ticket),
        stream_for("project.tickets", ticket.project_id): collection(ticket.project),
    }


@pytest.fixture
def client(site: Site, demo: Any, streams: dict[str, dict[str, str]]) -> Callable[..., Client]:
    """Return a new client of the site's Daphne, or of what is at a port before it."""

    def client(port: int | None = None, user: Any = demo) -> Client:
        return Client(port or site.daphne_port, user, *streams.values())

    return client
