"""Fixtures: the real processes, and real browsers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from pillarbox.relay import celery_wake_ups
from tests.browser import programs
from tests.browser.visitors import Visitor
from tests.journeys.conftest import site as own_site
from tests.processes import Site
from workers.app import app

__all__ = ["own_site"]

#: Started once for all tests of the package. Without beat, an idle site reads no table that a test empties.
PROCESSES = ("web", "worker", "daphne")

Visit = Callable[..., Awaitable[Visitor]]


@pytest.fixture(scope="package")
def shared_site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield the processes of all tests of the package."""
    with Site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(shared_site: Site, transactional_db: None) -> Site:
    """Return the processes, all of them running, with an empty queue."""
    with app.pool.acquire(block=True) as connection:
        app.amqp.queues["pillarbox"](connection.default_channel).purge()
    celery_wake_ups.clear_request()
    shared_site.start(*(name for name in PROCESSES if name not in shared_site.running))
    return shared_site


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def chromium() -> AsyncIterator[Browser]:
    """Yield the browser of all tests of the package; each visitor has a profile of its own."""
    async with programs.chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="package")
async def visit(chromium: Browser) -> AsyncIterator[Visit]:
    """Return a function that opens a page of a site, signed in as a user, in a new browser profile."""
    visitors: list[Visitor] = []

    async def visit(site: Site, user: Any = None, path: str = "/", **options: Any) -> Visitor:
        context = await programs.new_context(
            chromium, base_url=f"http://localhost:{site.port}", **options
        )
        visitor = Visitor(context, await context.new_page(), site)
        visitors.append(visitor)
        if user is not None:
            await visitor.sign_in(user)
        if path:
            await visitor.open(path)
        return visitor

    yield visit
    for visitor in visitors:
        await visitor.context.close()
    assert [] == [error for visitor in visitors for error in visitor.errors]
