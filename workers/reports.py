"""A process says that it runs, and how it is: every few seconds, beside its work, until it ends."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections

from apps.outbox.instances import REPORT_SECONDS, report, withdraw

logger = logging.getLogger(__name__)

#: How long the end of a process may wait until its row is withdrawn. If it isn't, it goes stale.
STOP_SECONDS = 2.0


class Reporter:
    """
    Reports a process of a kind, the Procfile's word, and what ``facts`` returns: JSON.

    In a thread with a connection of its own, so that whatever the process waits for is reported, too. It
    never raises, whatever the database does or ``facts`` raises. ``facts`` is called in that thread.
    Start it after a fork.
    """

    def __init__(
        self,
        kind: str,
        facts: Callable[[], Mapping[str, Any]],
        *,
        using: str = DEFAULT_DB_ALIAS,
        seconds: float = REPORT_SECONDS,
    ) -> None:
        self.name = f"{kind}@{socket.gethostname()}:{os.getpid()}"
        self._kind, self._facts, self._using, self._seconds = kind, facts, using, seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_unheard = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Report from now on, until the process ends."""
        # A daemon: a database that hangs keeps no process from ending.
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Report no more: the process ends as it should. Waits for `STOP_SECONDS` at most."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            self._try(lambda: report(self.name, self._kind, self._facts(), using=self._using))
            is_over = self._stopping.wait(self._seconds)
        self._try(lambda: withdraw(self.name, using=self._using))
        connections.close_all()

    def _try(self, statement: Callable[[], None]) -> None:
        """Do it, or let it be: of an outage there is a line in the log."""
        try:
            close_old_connections()
            statement()
        except Exception as error:  # noqa: BLE001  # whatever it is, the work of the process goes on
            if not self._is_unheard:
                text = " ".join(str(error).split())
                logger.warning("Not reported: %s", text, extra={"action": "report_failed"})
            self._is_unheard = True
        else:
            self._is_unheard = False
