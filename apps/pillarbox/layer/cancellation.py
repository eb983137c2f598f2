"""Cancellation of tasks that use redis-py, which may swallow it."""

import asyncio


async def end(tasks: "list[asyncio.Task[None]]", *, pause: float) -> None:
    """Cancel tasks again and again until they have ended, with a ``pause`` in seconds."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=pause)
    await asyncio.gather(*tasks, return_exceptions=True)


def is_task_cancelled() -> bool:
    """Return whether the current task was cancelled, even if that was swallowed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
