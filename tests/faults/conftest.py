"""Sites whose every part can be killed, made once for a module's tests."""

from collections.abc import Iterator

import pytest

from .site import FaultSite


@pytest.fixture(scope="module", params=[1, 3], ids=["one worker", "three workers"])
def crew(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultSite]:
    """A site with one worker, or three; beat; and nothing to do yet."""
    folder = tmp_path_factory.mktemp("site")
    # A row's failed attempts must not take the time that they should take in production.
    backoff = {"BACKOFF_BASE_SECONDS": 0.1, "BACKOFF_CEILING_SECONDS": 0.5}
    with FaultSite(folder, workers=request.param, MAX_ATTEMPTS=5, **backoff) as site:
        yield site


@pytest.fixture
def site(crew: FaultSite) -> FaultSite:
    """The module's site, all processes running, without a history."""
    crew.reset()
    crew.start(*(name for name in (*crew.workers, "beat") if name not in crew.running))
    return crew
