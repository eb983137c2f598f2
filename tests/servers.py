"""
A pytest plugin: real PostgreSQL and Redis for the tests, the environment's or embedded ones.

The embedded servers belong to a process of their own, which stops them when its standard input
ends: also when pytest is killed. Each process of pytest-xdist has servers of its own.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parent.parent

_keepers: "list[subprocess.Popen[str]]" = []


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests():
    """Called before Django's settings are read."""
    os.environ["DEBUG"] = "1"
    os.environ.setdefault("SECRET_KEY", "for-tests-only")
    if are_embedded() and "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ["DATA_DIR"] = str(_folder(0))
        _keep_servers()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config):
    """Called before tests are distributed to processes: none shares its servers with another."""
    if distributed := config.option.numprocesses:
        config.option.numprocesses = 0
        if are_embedded():
            while len(_keepers) < distributed:
                _keep_servers()
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


def pytest_unconfigure() -> None:
    """Called when all is done."""
    for keeper in _keepers:
        keeper.communicate(timeout=60)


def are_embedded() -> bool:
    """Whether the servers are ours to start."""
    return not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"))


def _keep_servers() -> None:
    """Start servers that end with this process."""
    keeper = start_keeper(_folder(len(_keepers)))
    if keeper is None:
        pytest.exit("The embedded servers did not start; the reason is above.", returncode=3)
    _keepers.append(keeper)


def _folder(number: int) -> Path:
    return ROOT / ".data" / "tests" / str(number)


def start_keeper(data_dir: Path, **environment: str) -> "subprocess.Popen[str] | None":
    """Return a process that keeps the servers of a folder until its standard input ends; None if it can't."""
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.servers", str(data_dir)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return keeper if keeper.stdout.readline() == "ready\n" else None


def keep(data_dir: Path) -> None:
    """Run the embedded servers until standard input ends."""
    # Not in the process that measures coverage: it would be too early there.
    import psycopg  # noqa: PLC0415

    from config.embedded import EmbeddedServerError, Servers, postgres_url  # noqa: PLC0415

    servers = Servers(
        data_dir,
        postgres=not os.environ.get("DATABASE_URL"),
        redis=not os.environ.get("REDIS_URL"),
    )
    try:
        with servers.owned():
            servers.start()
            if servers.wants["PostgreSQL"]:
                # Test databases needn't survive a power cut.
                with psycopg.connect(postgres_url(data_dir), autocommit=True) as connection:
                    connection.execute("ALTER SYSTEM SET fsync = off")
                    connection.execute("SELECT pg_reload_conf()")
            try:
                print("ready", flush=True)
                sys.stdin.read()
            finally:
                servers.stop()
    except EmbeddedServerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    import signal

    # Ctrl-C is for pytest; what ends this process is the end of its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep(Path(sys.argv[1]))
