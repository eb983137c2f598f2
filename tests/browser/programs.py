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

#: Ends a test whose program is missing: skips it, and in CI fails it.
go_without = pytest.fail if os.environ.get("CI") else pytest.skip


def require_chromium() -> str:
    """Return Chromium's path."""
    missing = "Chromium is not installed. On Debian: apt-get install chromium"
    return CHROMIUM or go_without(missing)


def require_package(name: str) -> Path:
    """Return where a package of `package.json` is."""
    folder = HERE / "node_modules" / name
    missing = f"{name} is not installed. With npm: npm ci --prefix tests/browser"
    return folder if folder.exists() else go_without(missing)


def run_node(*arguments: str | Path, **environment: Any) -> str:
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
