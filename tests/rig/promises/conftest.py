"""Fixtures: a site whose every part can be killed, made once for each module."""

from collections.abc import Iterator

import pytest

from tests.rig.site import Site
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def module_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield the site of a module's tests."""
    outbox = {
        # Retries in production would take too long for a test.
        "MAX_ATTEMPTS": 5,
        "BACKOFF_BASE_SECONDS": 0.1,
        "BACKOFF_CEILING_SECONDS": 0.5,
        # Tests hold incomplete handshakes open for as long as a slow machine needs.
        "HANDSHAKE_SECONDS": PATIENCE,
    }
    with Site(tmp_path_factory.mktemp("site"), **outbox) as site:
        site.environment["WORKER_CONCURRENCY"] = "1"
        yield site


@pytest.fixture(scope="module", params=[1, 3], ids=["one worker", "three workers"])
def names(request: pytest.FixtureRequest) -> list[str]:
    """Return the processes to run: one or three workers, and beat. One comes first: none need be stopped."""
    return [*(f"worker{number + 1}" for number in range(request.param)), "beat"]


@pytest.fixture
def site(module_site: Site, names: list[str]) -> Site:
    """Return the module's site with all processes running and no history."""
    module_site.reset()
    module_site.start(*(name for name in names if name not in module_site.running))
    return module_site
