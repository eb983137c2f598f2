"""What Prometheus reads: of a web server, of a worker, of Daphne."""

import hmac
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from prometheus_client import REGISTRY, CollectorRegistry, Metric, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from apps.outbox.backlog import Backlog, backlog

from .questions import Question
from .tallies import VARIABLE

disable_created_metrics()  # type: ignore[no-untyped-call]

#: Name → what it is, and what of the backlog it says.
GAUGES: dict[str, tuple[str, Callable[[Backlog], float]]] = {
    "notifier_backlog_rows": (
        "Rows that are neither published nor failed. Counting ends somewhere above 100000.",
        lambda found: found.pending,
    ),
    "notifier_backlog_unnumbered_rows": (
        "Those of them that nobody has given an offset yet.",
        lambda found: found.unnumbered,
    ),
    "notifier_backlog_age_seconds": (
        "Age of the oldest of them; 0 if there is none.",
        lambda found: found.oldest_seconds or 0.0,
    ),
    "notifier_lag_seconds": (
        "For how long some row could have been published: the backlog without what waits for another "
        "attempt. The one to alert on.",
        lambda found: found.lag_seconds or 0.0,
    ),
    "notifier_failed_rows": (
        "Failed rows that nobody has replayed.",
        lambda found: found.unreplayed,
    ),
}


class Database(Collector):
    """The backlog, asked for when somebody reads the metrics; never for long."""

    def __init__(self, ask: Callable[[], Backlog]) -> None:
        self._backlog = Question(ask)

    def describe(self) -> list[Metric]:
        """Return nothing: registering it asks the database nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called when somebody reads the metrics. Without the database it says so, and only that."""
        found: Backlog | None = None
        try:
            found = self._backlog.answer()
        except Exception:  # noqa: BLE001  # whatever it is, the other metrics are there to be read
            found = None
        text = "1 if the database answered within two seconds. All gauges of the backlog are the "
        text += "database's, whichever process is asked: take their max, not their sum."
        yield GaugeMetricFamily("notifier_database_up", text, value=float(found is not None))
        if found is not None:
            for name, (text, value) in GAUGES.items():
                yield GaugeMetricFamily(name, text, value=value(found))


_database = Database(lambda: backlog(using=DEFAULT_DB_ALIAS))
REGISTRY.register(_database)


def expose(accepted: str) -> tuple[bytes, str]:
    """Return the metrics of this process, and of those it counts with, and their media type."""
    encode, media_type = choose_encoder(accepted)
    return encode(_registry()), media_type


def is_allowed(authorization: str, address: str) -> bool:
    """
    Whether a request may read the metrics: it has ``METRICS_TOKEN``, as a bearer's.

    Without such a token, while debugging, who is on this machine may; in a deployment nobody, since
    a proxy on this machine brings anybody.
    """
    if token := settings.METRICS_TOKEN:
        return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())
    return settings.DEBUG and address in ("127.0.0.1", "::1")


def _registry() -> CollectorRegistry:
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return REGISTRY
    _forget_dead(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    registry.register(_database)
    return registry


def _forget_dead(folder: Path) -> None:
    """What a process is, it is no more when it is dead; what it counted has happened."""
    for path in folder.glob("gauge_live*.db"):
        if not psutil.pid_exists(int(path.stem.rpartition("_")[2])):
            path.unlink(missing_ok=True)
