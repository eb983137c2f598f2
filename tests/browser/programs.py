"""Programs that run JavaScript: Chromium, and the Node that Playwright brings along."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import playwright
import pytest

HERE = Path(__file__).parent
NODE = Path(playwright.__file__).parent / "driver" / "node"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
HOW = "Chromium is not installed. On Debian: apt-get install chromium"


def require_chromium() -> str:
    """Return Chromium's path. Without it a test is skipped, but fails in CI."""
    if CHROMIUM is None:
        pytest.fail(HOW) if os.environ.get("CI") else pytest.skip(HOW)
    return CHROMIUM


def run_node(*arguments: str, **environment: Any) -> str:
    """Run Node, and return what it says. Fails if it fails."""
    done = subprocess.run(
        [str(NODE), *arguments],
        cwd=HERE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout
