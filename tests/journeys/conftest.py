"""The real processes, with nothing in the broker for them to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Site
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
