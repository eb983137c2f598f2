"""Database access for sockets, on a few threads of its own and with deadlines."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, InternalError, OperationalError, connection, connections

from ..conf import pillarbox_settings
from ..database import AWAY_OR_SLOW, close_stale_connections, is_read_only, limited
from ..deadlines import timeout
from ..logs import get_logger
from ..metrics.sockets import gauges

P = ParamSpec("P")
T = TypeVar("T")

logger = get_logger(__name__)

#: The time since its last use in which a connection needs no check, unless another one was lost since.
FRESH_SECONDS = 1.0


class _Use(threading.local):
    """The time of this thread's last database work; on the class, of any thread's last lost connection."""

    at = 0.0
    lost_at = 0.0


_use = _Use()

#: Replaces the threads of this module: a test's transaction belongs to one thread.
executor: ContextVar[Executor | None] = ContextVar("executor", default=None)

#: Shared reads that no thread has begun yet, by function and arguments.
_waiting: dict[Any, "Future[Any]"] = {}
_waiting_lock = threading.Lock()


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Run a synchronous function that uses the ORM in a transaction of its own, and return its result.

    It runs on one of a few threads that serve all sockets of the process, not on asgiref's only thread.
    PostgreSQL cancels a statement that takes longer than ``DATABASE_SECONDS``. Raises TimeoutError if the
    whole call, waiting included, takes longer; and the function's errors.
    """
    threads = executor.get() or _for_sockets()
    return await _awaited(threads.submit(_tidy(limited(function)), *args, **kwargs))


async def shared(function: Callable[..., T], *args: Any) -> T:
    """
    Do what `in_database` does, and share the result with all equal calls made before the read begins.

    A read that has begun is not shared: it may miss commits that a later caller knows of.
    """
    key = (function, *args)

    def run() -> T:
        with _waiting_lock:
            del _waiting[key]
        return _tidy(limited(function))(*args)

    threads = executor.get() or _for_sockets()
    # The lock keeps `run` from looking for its key before the key is there.
    with _waiting_lock:
        if (future := _waiting.get(key)) is None:
            future = _waiting[key] = threads.submit(run)
    return await _awaited(future, is_shared=True)


async def in_housekeeping(
    name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """
    Run a function for housekeeping, on a thread that sockets don't use.

    Each name has its own thread. Sets no transaction and no statement timeout: see `limited`. Raises
    TimeoutError after ``DATABASE_SECONDS``, and the function's errors.
    """
    thread = executor.get() or _for_housekeeping(name)
    return await _awaited(thread.submit(_tidy(function), *args, **kwargs))


async def on_own_thread(
    name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """
    Run a function that may never end, on a thread and a connection of its own, and return its result.

    Only the caller waits for it; no other work does, nor the exit of the process.
    """
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()

    def run() -> None:
        try:
            try:
                returned = function(*args, **kwargs)
            finally:
                connections.close_all()
        except Exception as error:  # noqa: BLE001  # raised again for the caller who awaits the result
            result.set_exception(error)
        else:
            result.set_result(returned)

    threading.Thread(target=run, name=f"pillarbox-{name}", daemon=True).start()
    return await asyncio.wrap_future(result)


def log_away(error: Exception) -> None:
    """Log that the database is away."""
    logger.warning("The database is away: %r", error, extra={"action": "database_away"})


def _tidy(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function so that it closes stale connections. Raises OperationalError on a read-only server."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if connection.in_atomic_block:  # only in a test's transaction, which has to stay open
            return function(*args, **kwargs)
        close_stale_connections()
        # A connection that worked a moment ago is not checked: the check costs as much as the work itself.
        fresh_since = max(_Use.lost_at, time.monotonic() - FRESH_SECONDS)
        connection.health_check_done = _use.at > fresh_since  # type: ignore[attr-defined]  # Django's own
        try:
            result = function(*args, **kwargs)
        except AWAY_OR_SLOW:
            _Use.lost_at = time.monotonic()
            raise
        except InternalError as error:
            if is_read_only(using=DEFAULT_DB_ALIAS):  # the next connection leads to another server
                raise OperationalError("The database has become read-only.") from error
            raise
        else:
            _use.at = time.monotonic()
            return result
        finally:
            close_stale_connections()

    return run


async def _awaited(future: "Future[T]", *, is_shared: bool = False) -> T:
    result = asyncio.wrap_future(future)
    async with timeout(pillarbox_settings().DATABASE_SECONDS):
        # A timeout cancels a read that hasn't begun, but not a shared one: others may wait for it.
        return await (asyncio.shield(result) if is_shared else result)


@lru_cache
def _for_sockets() -> ThreadPoolExecutor:
    threads = pillarbox_settings().DATABASE_THREADS
    return ThreadPoolExecutor(threads, thread_name_prefix="pillarbox-database")


def reads_waiting() -> int:
    """Return the number of reads for sockets that no thread has begun yet."""
    return _for_sockets()._work_queue.qsize()


gauges.functions["notifier_database_reads_waiting"] = reads_waiting


@lru_cache
def _for_housekeeping(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=f"pillarbox-{name}")
