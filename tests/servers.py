"""
A pytest plugin: real PostgreSQL and Redis for the tests, the environment's or embedded ones.

A keeper ends the embedded servers, and everything that tests have started, with pytest: also when that is
killed. Each process of pytest-xdist has servers of its own.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.rig.keeper import ROOT, KeeperError, keeper


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests():
    """Called before Django's settings are read."""
    os.environ["DEBUG"] = "1"
    os.environ.setdefault("SECRET_KEY", "for-tests-only")
    keeper()  # its mark is inherited from now on
    if are_embedded() and "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ["DATA_DIR"] = str(_folder(0))
        _serve(0)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config):
    """Called before tests are distributed to processes: none shares its servers with another."""
    if distributed := config.option.numprocesses:
        config.option.numprocesses = 0
        if are_embedded():
            for number in range(1, distributed):
                _serve(number)
            config.option.numprocesses, config.option.dist = None, "loadscope"
            # Files of few tests are the slow ones: they must not come last.
            config.option.loadscopereorder = False
            config.option.tx = [f"popen//env:DATA_DIR={_folder(n)}" for n in range(distributed)]
    return (yield)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "ByNoun":
    """Called where tests are distributed."""
    return ByNoun(config, log)


class ByNoun(LoadScopeScheduling):
    """Tests of one file stay together; so do those of the protocol, of which the last one looks at all."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        return str(path.parent if path.parent.name == "protocol" else path)


@pytest.fixture(scope="session", autouse=True)
def _watched(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Servers that a test leaves in its folder end with pytest, whoever has started them."""
    keeper().watch(tmp_path_factory.getbasetemp())


def pytest_unconfigure() -> None:
    """Called when all is done."""
    keeper().end()


def are_embedded() -> bool:
    """Whether the servers are ours to start."""
    return not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"))


def _serve(number: int) -> None:
    """Start servers that end with this process."""
    wanted = {
        "postgres": not os.environ.get("DATABASE_URL"),
        "redis": not os.environ.get("REDIS_URL"),
    }
    try:
        keeper().serve(_folder(number), **wanted)
    except KeeperError as error:
        pytest.exit(f"The embedded servers did not start: {error}", returncode=3)


def _folder(number: int) -> Path:
    return ROOT / ".data" / "tests" / str(number)
