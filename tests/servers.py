"""
A pytest plugin: a real PostgreSQL and Redis for the tests, either embedded or given by the environment.

A keeper ends the embedded servers, and all processes that tests have started, when pytest ends or is killed.
Each process of pytest-xdist has servers of its own.
"""

import os
from pathlib import Path

import pytest

from tests.rig.keeper import ROOT, KeeperError, keeper


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests():
    """Called before Django's settings are read."""
    os.environ["DEBUG"] = "1"
    os.environ.setdefault("SECRET_KEY", "for-tests-only")
    keeper()  # first, because all later processes must inherit its mark
    if are_embedded() and "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ["DATA_DIR"] = str(_folder(0))
        _serve(0)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config):
    """Called before tests are distributed to processes. Starts servers for each process."""
    if distributed := config.option.numprocesses:
        config.option.numprocesses = 0
        if are_embedded():
            for number in range(1, distributed):
                _serve(number)
            config.option.numprocesses, config.option.dist = None, "loadscope"
            # Files with few tests are the slow ones, so they must not come last.
            config.option.loadscopereorder = False
            config.option.tx = [f"popen//env:DATA_DIR={_folder(n)}" for n in range(distributed)]
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Called once the plugins are loaded."""
    if terminal := config.pluginmanager.get_plugin("terminalreporter"):
        config.pluginmanager.register(Failures(terminal))


class Failures:
    """A reporter that prints failures at once, because an interrupted run has no summary."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called after each phase of a test."""
        if report.failed:
            self._terminal.ensure_newline()
            self._terminal.write_line(f"FAILED {report.nodeid} ({report.when})")
            self._terminal.write_line(report.longreprtext[-2000:])


@pytest.fixture(scope="session", autouse=True)
def _watched(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have the keeper also end servers in folders of tests, even if another process has started them."""
    keeper().watch(tmp_path_factory.getbasetemp())


def pytest_unconfigure() -> None:
    """Called at the end of pytest."""
    keeper().end()


def are_embedded() -> bool:
    """Whether this plugin has to start the servers."""
    return not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"))


def _serve(number: int) -> None:
    """Start the servers of one process of pytest-xdist. They end with this process."""
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
