"""
A pytest plugin: real PostgreSQL and Redis for the tests, the environment's or embedded ones.

The embedded servers belong to a process of their own, which stops them when its standard input
ends: also when pytest is killed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DATA_DIR = ROOT / ".data" / "tests"

_keeper: "subprocess.Popen[str] | None" = None


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests():
    """Called before Django's settings are read."""
    global _keeper
    os.environ["DEBUG"] = "1"
    os.environ.setdefault("SECRET_KEY", "for-tests-only")
    if not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")):
        os.environ["DATA_DIR"] = str(DATA_DIR)
        _keeper = start_keeper(DATA_DIR)
        if _keeper is None:
            pytest.exit("The embedded servers did not start; the reason is above.", returncode=3)
    return (yield)


def pytest_unconfigure() -> None:
    """Called when all is done."""
    if _keeper is not None:
        _keeper.communicate(timeout=60)


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
