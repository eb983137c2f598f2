"""Fixtures: the real processes, with an empty queue, and their clients."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pillarbox.relay import celery_wake_ups
from pillarbox.types.groups import stream_for
from tests.communicators import collection, subject
from tests.journeys.clients import Client
from tests.processes import Site
from workers.app import app


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Yield the processes, none of them started, with an empty queue."""
    with app.pool.acquire(block=True) as connection:
        app.amqp.queues["pillarbox"](connection.default_channel).purge()
    celery_wake_ups.clear_request()  # an earlier test's wake-up was deleted with the queue
    with Site(tmp_path) as site:
        yield site


@pytest.fixture
def streams(ticket: Any) -> dict[str, dict[str, str]]:
    """Return the subjects that the clients follow, by stream."""
    return {
        stream_for("ticket", ticket.pk): subject(ticket),
        stream_for("project.tickets", ticket.project_id): collection(ticket.project),
    }


@pytest.fixture
def client(site: Site, demo: Any, streams: dict[str, dict[str, str]]) -> Callable[..., Client]:
    """Return a function that makes a client of the site's Daphne, or of a proxy's port."""

    def client(port: int | None = None, user: Any = demo) -> Client:
        return Client(port or site.daphne_port, user, *streams.values())

    return client
