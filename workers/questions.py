"""Questions to the database that keep nobody waiting."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from django.db import connection, transaction

T = TypeVar("T")

#: How long whoever asks may wait, and how long each statement may take.
PATIENCE_SECONDS = 2.0
#: How long an answer is good for.
FRESH_SECONDS = 1.0


class Question(Generic[T]):
    """
    What a function finds in the database; it runs on a thread of its own, one at a time.

    So a database that hangs keeps one thread, however many ask.
    """

    def __init__(
        self,
        ask: Callable[[], T],
        *,
        patience: float = PATIENCE_SECONDS,
        fresh: float = FRESH_SECONDS,
    ) -> None:
        self._ask, self._patience, self._fresh = ask, patience, fresh
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="question")
        self._lock = threading.Lock()
        self._asked: Future[T] | None = None
        self._stale_at = 0.0

    def answer(self) -> T:
        """Return the answer, not older than ``fresh``. Raises TimeoutError, or what the function raises."""
        with self._lock:
            is_stale = time.monotonic() >= self._stale_at
            if self._asked is None or (self._asked.done() and is_stale):
                self._asked = self._thread.submit(self._ask_briefly)
                self._stale_at = time.monotonic() + self._fresh
            asked = self._asked
        return asked.result(self._patience)

    def _ask_briefly(self) -> T:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    milliseconds = f"{self._patience * 1000:.0f}"
                    cursor.execute(
                        "SELECT set_config('statement_timeout', %s, true)", [milliseconds]
                    )
                return self._ask()
        finally:
            connection.close()  # who asks each quarter of a minute needs none in between
