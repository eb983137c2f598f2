"""Functions with which tests wait for a condition, never for a time."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

#: How many seconds a test waits for a condition before it fails. A condition that holds costs none of them.
PATIENCE = 300.0


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait until a condition is true, and return its result. Raises TimeoutError, which names ``what``."""
    deadline = time.monotonic() + patience
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited in vain until {what}.")
        time.sleep(0.02)
    return result


async def until(condition: Callable[[], Any]) -> Any:
    """Wait in the event loop until a condition is true, and return its result. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while not (result := condition()):
            await asyncio.sleep(0.01)
    return result
