"""Reports of a running process: a thread writes its facts to the database every few seconds."""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from django.db import DEFAULT_DB_ALIAS, connections

from ..database import close_stale_connections
from ..formats import one_line
from ..logs import get_logger
from .processes import REPORT_SECONDS, report, withdraw

logger = get_logger(__name__)

#: How long a process that ends may wait for its report to be withdrawn. Otherwise the report goes stale.
STOP_SECONDS = 2.0


class Reporter:
    """
    A thread that reports this process: its kind, and its ``facts`` as JSON.

    The kind is ``worker`` (also ``pillarbox run``), ``beat`` or ``daphne``. The thread has its own
    connection and calls ``facts`` itself, so it reports even while the process is blocked. It never raises,
    whatever the database or ``facts`` does. Start it after a fork.
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
        self._since = datetime.now(UTC).isoformat()
        self._is_failing = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start reporting, until `stop` is called or the process ends."""
        # A daemon, so that a hung database doesn't keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reporting, and withdraw the report. Waits for at most `STOP_SECONDS`."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._try(self._report)
            is_last = self._stopping.wait(self._seconds)
        self._try(lambda: withdraw(self.name, using=self._using))
        connections.close_all()

    def _report(self) -> None:
        # By this machine's clock, like the times in the facts.
        moments = {"since": self._since, "at": datetime.now(UTC).isoformat()}
        report(self.name, self._kind, {**self._facts(), **moments}, using=self._using)

    def _try(self, statement: Callable[[], None]) -> None:
        """Call ``statement``. An error is logged, once for each outage."""
        try:
            close_stale_connections(using=self._using)
            statement()
        except Exception as error:  # noqa: BLE001  # the process's work goes on
            if not self._is_failing:
                extra = {"action": "report_failed"}
                logger.warning("Not reported: %s", one_line(error), extra=extra)
            self._is_failing = True
        else:
            self._is_failing = False
