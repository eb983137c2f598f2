"""A site whose every part can be killed, made once for a module's tests."""

from collections.abc import Iterator

import pytest

from tests.rig.site import Site


@pytest.fixture(scope="module")
def module_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site of a module's tests."""
    # A row's failed attempts must not take the time that they should take in production.
    outbox = {"MAX_ATTEMPTS": 5, "BACKOFF_BASE_SECONDS": 0.1, "BACKOFF_CEILING_SECONDS": 0.5}
    with Site(tmp_path_factory.mktemp("site"), **outbox) as site:
        site.environment["WORKER_CONCURRENCY"] = "1"
        yield site


@pytest.fixture(scope="module", params=[1, 3], ids=["one worker", "three workers"])
def names(request: pytest.FixtureRequest) -> list[str]:
    """The processes that run: so many workers, and beat. Few come first, so that none is to be stopped."""
    return [*(f"worker{number + 1}" for number in range(request.param)), "beat"]


@pytest.fixture
def site(module_site: Site, names: list[str]) -> Site:
    """The module's site, all processes running, without a history."""
    module_site.reset()
    module_site.start(*(name for name in names if name not in module_site.running))
    return module_site
