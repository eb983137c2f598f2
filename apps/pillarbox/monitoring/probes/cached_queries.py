"""Database queries for probes and metrics: each has a time limit, and a briefly cached result."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, transaction

from ...database import limit_statements

T = TypeVar("T")

#: How long a caller waits, and how long each statement may take.
LIMIT_SECONDS = 2.0
#: How long a result is reused.
FRESH_SECONDS = 1.0


class CachedQuery(Generic[T]):
    """
    A query whose result is shared and briefly cached. It runs in its own thread, one at a time.

    So a hung database blocks one thread, however many requests come.
    """

    def __init__(
        self,
        query: Callable[[], T],
        *,
        limit: float = LIMIT_SECONDS,
        fresh: float = FRESH_SECONDS,
    ) -> None:
        self._query, self._limit, self._fresh = query, limit, fresh
        self._lock = threading.Lock()
        self._future: Future[T] | None = None
        self._stale_at = 0.0

    def result(self) -> T:
        """Return a result at most ``fresh`` seconds old. Raises TimeoutError, or the query's own error."""
        with self._lock:
            is_stale = time.monotonic() >= self._stale_at
            if self._future is None or (self._future.done() and is_stale):
                self._future = self._begin()
                self._stale_at = time.monotonic() + self._fresh
            future = self._future
        return future.result(self._limit)

    def clear(self) -> None:
        """Forget the result, so that the next caller gets a new one."""
        with self._lock:
            self._future = None

    def _begin(self) -> "Future[T]":
        future: Future[T] = Future()
        # A daemon, so that a hung database doesn't keep the process from ending.
        thread = threading.Thread(target=self._run, args=[future], name="cached-query", daemon=True)
        thread.start()
        return future

    def _run(self, future: "Future[T]") -> None:
        try:
            future.set_result(self._run_limited())
        except Exception as error:  # noqa: BLE001  # raised again in `result`
            future.set_exception(error)

    def _run_limited(self) -> T:
        try:
            with transaction.atomic():
                limit_statements(self._limit, using=DEFAULT_DB_ALIAS)
                return self._query()
        finally:
            connection.close()  # probes come every few seconds and need no open connection in between
