"""The one crossing from sockets to the database: a few threads of its own, and never for long."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

from django.db import (
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
    transaction,
)

from .conf import realtime_settings
from .deadlines import timeout
from .metrics import present

P = ParamSpec("P")
T = TypeVar("T")

#: What says that the database is away, or too slow. Its other errors say that it was asked for nonsense.
DATABASE_AWAY = (OperationalError, InterfaceError, TimeoutError)

#: A connection that was used so short a time ago is taken to be there, unless another one was lost since.
FRESH_SECONDS = 1.0


class _Use(threading.local):
    """When this thread's connection did its last work, and when any thread last lost its own."""

    at = 0.0
    lost_at = 0.0


_use = _Use()

#: Reads that nobody has begun yet, by what they read.
_waiting: dict[Any, "Future[Any]"] = {}
_waiting_lock = threading.Lock()


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Return what a synchronous function that uses the ORM returns, in a transaction of its own.

    It runs on a few threads that serve all sockets of the process, apart from the one thread on
    which asgiref runs everything else. PostgreSQL ends a statement that takes longer than
    ``DATABASE_SECONDS``. Raises TimeoutError if all of it takes longer, or whatever the function raises.
    """
    return await _awaited(_for_sockets().submit(_tidy(limited(function)), *args, **kwargs))


async def shared(function: Callable[..., T], *args: Any) -> T:
    """
    Do what `in_database` does; who asks for the same, before anybody has begun to read, shares the answer.

    What has begun is not shared: it may not see what the one who asks later has heard of.
    """
    key = (function, *args)

    def run() -> T:
        with _waiting_lock:
            del _waiting[key]
        return _tidy(limited(function))(*args)

    # A thread may begin before `submit` returns.
    with _waiting_lock:
        if (future := _waiting.get(key)) is None:
            future = _waiting[key] = _for_sockets().submit(run)
    return await _awaited(future, is_shared=True)


async def in_rounds(name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Do what `in_database` does, for what is done for all sockets: on a thread that no socket can keep.

    Each name has one of its own. Raises TimeoutError, or whatever the function raises.
    """
    return await _awaited(_for_rounds(name).submit(_tidy(function), *args, **kwargs))


def limited(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function run in a transaction, whose statements may take ``DATABASE_SECONDS`` each."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        milliseconds = f"{realtime_settings().DATABASE_SECONDS * 1000:.0f}"
        with transaction.atomic():
            with connection.cursor() as cursor:
                # For the transaction, since a connection behind a pooler is not ours for longer.
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [milliseconds])
            return function(*args, **kwargs)

    return run


def _tidy(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that leaves no connection open for longer than it may be."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        close_old_connections()
        # What was fine a moment ago is not asked again: the question costs as much as what follows.
        fresh_since = max(_Use.lost_at, time.monotonic() - FRESH_SECONDS)
        connection.health_check_done = _use.at > fresh_since  # type: ignore[attr-defined]  # Django's own
        try:
            result = function(*args, **kwargs)
        except DATABASE_AWAY:
            _Use.lost_at = time.monotonic()
            raise
        else:
            _use.at = time.monotonic()
            return result
        finally:
            close_old_connections()

    return run


async def _awaited(future: "Future[T]", *, is_shared: bool = False) -> T:
    result = asyncio.wrap_future(future)
    async with timeout(realtime_settings().DATABASE_SECONDS):
        # Whoever gives up takes back what nobody has begun, unless others wait for it, too.
        return await (asyncio.shield(result) if is_shared else result)


@lru_cache
def _for_sockets() -> ThreadPoolExecutor:
    threads = realtime_settings().DATABASE_THREADS
    return ThreadPoolExecutor(threads, thread_name_prefix="realtime-database")


def reads_waiting() -> int:
    """Return how many reads for sockets no thread has begun yet."""
    return _for_sockets()._work_queue.qsize()


present.asked["notifier_database_reads_waiting"] = reads_waiting


@lru_cache
def _for_rounds(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=f"realtime-{name}")
