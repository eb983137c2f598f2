"""The real processes, and real browsers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.programs import require_chromium
from tests.browser.visitors import Visitor
from tests.journeys.conftest import site as own_site
from tests.processes import Site
from workers import bell
from workers.app import app

__all__ = ["own_site"]

#: Started once for all tests here. Without beat, what is still can be emptied: nobody looks at it.
PROCESSES = ("web", "worker", "daphne")
#: It is started by root here and there, and has nothing to say to anybody but the page's servers.
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

Visit = Callable[..., Awaitable[Visitor]]


@pytest.fixture(scope="package")
def crew(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The processes of all these tests."""
    with Site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(crew: Site, transactional_db: None) -> Site:
    """The processes, all of them running, with nothing in the broker for them to do."""
    with app.pool.acquire(block=True) as connection:
        app.amqp.queues["outbox"](connection.default_channel).purge()
    bell.clear()
    crew.start(*(name for name in PROCESSES if name not in crew.running))
    return crew


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def chromium() -> AsyncIterator[Browser]:
    """The browser of all these tests; each visitor has a profile of its own."""
    path = require_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="package")
async def visit(chromium: Browser) -> AsyncIterator[Visit]:
    """Return a function that has a user visit a site, in a browser that knows nobody else."""
    visitors: list[Visitor] = []

    async def visit(site: Site, user: Any = None, path: str = "/", **options: Any) -> Visitor:
        context = await chromium.new_context(base_url=f"http://localhost:{site.port}", **options)
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
    assert [] == [mistake for visitor in visitors for mistake in visitor.mistakes]
