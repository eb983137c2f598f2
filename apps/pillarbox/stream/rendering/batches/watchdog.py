"""The watchdog of batches that are being rendered: renews them, and detects code that hangs."""

import faulthandler
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread, get_ident
from typing import Any

from django.db import Error, connections

from ....conf import pillarbox_settings
from ....logs import get_logger
from .batch import UNRENEWED_SECONDS, Batch, renew

logger = get_logger(__name__)

#: The interval of renewals, a fraction of `UNRENEWED_SECONDS`, so that one may fail.
RENEW_SECONDS = 0.5
#: The most rows of a hanging batch that the log names.
NAMED_ROWS = 20
STDERR = 2


@contextmanager
def watched(batches: Sequence[Batch], *, using: str, ends_process: bool) -> Iterator[None]:
    """
    Renew the batches while the block renders them, for at most ``RENDER_SECONDS``.

    After that other processes may take the batches, and a block that still runs counts as hanging. This is
    logged, and with ``ends_process`` the process ends, because nothing else stops such code.
    """
    # Only in a test's transaction, for whose end the other connection would wait.
    if connections[using].in_atomic_block:
        yield
        return
    watchdog = Watchdog(batches, using, ends_process=ends_process)
    thread = Thread(target=watchdog.watch, name="rendering", daemon=True)
    watchdog.start_timer()
    thread.start()
    try:
        yield
    finally:
        watchdog.is_over.set()
        thread.join()
        watchdog.stop_timer()


class Watchdog:
    """A thread that watches the rendering thread. It counts only the time in which it runs itself."""

    def __init__(self, batches: Sequence[Batch], using: str, *, ends_process: bool) -> None:
        self.batches, self.using, self.ends_process = batches, using, ends_process
        self.is_over = Event()
        self._renderer = get_ident()

    def watch(self) -> None:
        """Renew the batches until the block is over. If it isn't over in time, report that it hangs."""
        if not self._renew() and not self.is_over.wait(UNRENEWED_SECONDS):
            self._report()
            if self.ends_process:
                os._exit(1)

    def start_timer(self) -> None:
        """
        Start or restart the timer that ends the process if no Python thread runs for too long.

        Code that holds the interpreter lock, such as a regular expression, stops all Python threads. A
        process has only one such timer, so only workers set it.
        """
        if self.ends_process:
            seconds = pillarbox_settings().RENDER_SECONDS + UNRENEWED_SECONDS
            faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)

    def stop_timer(self) -> None:
        """Undo `start_timer`."""
        if self.ends_process:
            faulthandler.cancel_dump_traceback_later()

    def _renew(self) -> bool:
        """Renew the batches for at most ``RENDER_SECONDS``; return whether the block is over."""
        try:
            for _ in range(int(pillarbox_settings().RENDER_SECONDS / RENEW_SECONDS)):
                if self.is_over.wait(RENEW_SECONDS):
                    return True
                self.start_timer()
                try:
                    for batch in self.batches:
                        renew(batch, using=self.using)
                except Error:
                    connections[self.using].close()  # the next renewal opens a new connection
        finally:
            connections.close_all()
        return False

    def _report(self) -> None:
        rows = [row for batch in self.batches for row in batch.rows]
        extra: dict[str, Any] = {
            "action": "rendering_hangs",
            "object_types": sorted({row.object_type for row in rows}),
            "rows": len(rows),
            "outbox_ids": [row.pk for row in rows[:NAMED_ROWS]],
            "stack": "".join(traceback.format_stack(sys._current_frames()[self._renderer])),
        }
        if self.ends_process:
            logger.critical("Rendering hangs: this process ends", extra=extra)
        else:
            logger.error("Rendering hangs: its rows are left to workers", extra=extra)
