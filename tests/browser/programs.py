"""Programs that run JavaScript: Chromium, and the Node that Playwright includes."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import playwright
import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from tests.waiting import PATIENCE

HERE = Path(__file__).parent
NODE = Path(playwright.__file__).parent / "driver" / "node"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
#: Root may start Chromium, which needs --no-sandbox. It must contact no servers but the tests'.
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

#: Skips a test whose program is missing; fails it in CI.
skip_or_fail = pytest.fail if os.environ.get("CI") else pytest.skip

expect.set_options(timeout=PATIENCE * 1000)


def require_chromium() -> str:
    """Return Chromium's path. Skips the test if Chromium is missing."""
    missing = "Chromium is not installed. On Debian: apt-get install chromium"
    return CHROMIUM or skip_or_fail(missing)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run Chromium, without a window."""
    path = require_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


async def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """Open a browser context whose timeout is that of other tests."""
    context = await browser.new_context(**options)
    context.set_default_timeout(PATIENCE * 1000)
    return context


def require_package(name: str) -> Path:
    """Return the folder of an npm package. Skips the test if the package is missing."""
    folder = HERE / "node_modules" / name
    missing = f"{name} is not installed. With npm: npm ci --prefix tests/browser"
    return folder if folder.exists() else skip_or_fail(missing)


def run_node(*arguments: str | Path, **environment: Any) -> str:
    """Run Node, and return its output. Fails if Node does."""
    done = subprocess.run(
        [str(NODE), *arguments],
        cwd=HERE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout
