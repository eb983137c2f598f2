"""Questions to the database that keep nobody waiting."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
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
        self._lock = threading.Lock()
        self._asked: Future[T] | None = None
        self._stale_at = 0.0

    def answer(self) -> T:
        """Return the answer, not older than ``fresh``. Raises TimeoutError, or what the function raises."""
        with self._lock:
            is_stale = time.monotonic() >= self._stale_at
            if self._asked is None or (self._asked.done() and is_stale):
                self._asked = self._begin()
                self._stale_at = time.monotonic() + self._fresh
            asked = self._asked
        return asked.result(self._patience)

    def _begin(self) -> "Future[T]":
        asked: Future[T] = Future()
        # A daemon: a process that is to end doesn't wait for a database that hangs.
        thread = threading.Thread(target=self._run, args=[asked], name="question", daemon=True)
        thread.start()
        return asked

    def _run(self, asked: "Future[T]") -> None:
        try:
            asked.set_result(self._ask_briefly())
        except Exception as error:  # noqa: BLE001  # it is raised where somebody waits
            asked.set_exception(error)

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
