"""How tests wait: for a condition, and never for a time."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

#: How many seconds a test waits for a condition before it fails. A condition that holds costs none of them.
PATIENCE = 120.0


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Return what a condition returns once it is true. Raises TimeoutError, saying what it waited for."""
    deadline = time.monotonic() + patience
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited in vain until {what}.")
        time.sleep(0.02)
    return result


async def until(condition: Callable[[], Any]) -> Any:
    """Return what a condition returns once something else has made it true. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while not (result := condition()):
            await asyncio.sleep(0.01)
    return result
