"""The metrics of a web process, a worker or Daphne, in Prometheus' format."""

import hmac
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from prometheus_client import REGISTRY, CollectorRegistry, Metric, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ...conf import pillarbox_settings
from ..backlog import Backlog
from ..diagnosis import Diagnosis, diagnose
from ..facts import Facts, facts
from ..problems import State
from .cached_queries import CachedQuery
from .shared_metrics import VARIABLE

disable_created_metrics()  # type: ignore[no-untyped-call]

STATUS, PROBLEMS = "notifier_status", "notifier_problems"
#: Name → help text, and the value, taken from the backlog.
GAUGES: dict[str, tuple[str, Callable[[Backlog], float]]] = {
    "notifier_backlog_rows": (
        "Rows that are neither published nor failed. Counting ends somewhere above 100000.",
        lambda found: found.pending,
    ),
    "notifier_backlog_unnumbered_rows": (
        "Those of them without an offset.",
        lambda found: found.unnumbered,
    ),
    "notifier_backlog_age_seconds": (
        "Age of the oldest of them; 0 if there is none.",
        lambda found: found.oldest_seconds or 0.0,
    ),
    "notifier_lag_seconds": (
        "For how long some row could have been published; rows that wait for another attempt don't "
        "count.",
        lambda found: found.lag_seconds or 0.0,
    ),
    "notifier_failed_rows": (
        "Failed rows that were not replayed.",
        lambda found: found.unreplayed,
    ),
}


class FactsCollector(Collector):
    """A collector of the status and the backlog. Reading it queries the database, with a time limit."""

    def __init__(self, query: Callable[[], Facts]) -> None:
        self._facts = CachedQuery(query)

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering the collector doesn't query the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called when metrics are read. If the database is away, yields only `notifier_database_up`."""
        found: Facts | None = None
        try:
            found = self._facts.result()
        except Exception:  # noqa: BLE001  # the other metrics can still be read
            found = None
        text = "1 if the database answered within two seconds. The status and the gauges of the backlog have "
        text += "the same value in every process: take their max, not their sum."
        yield GaugeMetricFamily("notifier_database_up", text, value=float(found is not None))
        if found is not None:
            yield from _diagnosis(diagnose(found))
            for name, (text, value) in GAUGES.items():
                yield GaugeMetricFamily(name, text, value=value(found.backlog))


def _diagnosis(diagnosis: Diagnosis) -> Iterator[Metric]:
    text = "1 for the overall state, as on the dashboard; 0 for the other states. Alert on STALLED."
    status = GaugeMetricFamily(STATUS, text, labels=["state"])
    for state in State:
        status.add_metric([state], float(state is diagnosis.state))
    yield status
    text = "Problems by the doctor's check that names them, and the state that they cause."
    problems = GaugeMetricFamily(PROBLEMS, text, labels=["check", "state"])
    for (check, state), count in Counter(
        (each.check, each.state) for each in diagnosis.problems
    ).items():
        problems.add_metric([check, state], count)
    yield problems


_facts = FactsCollector(lambda: facts(using=DEFAULT_DB_ALIAS))
REGISTRY.register(_facts)


def expose(accepted: str) -> tuple[bytes, str]:
    """Return the metrics of this process and those that share with it, and their media type."""
    encode, media_type = choose_encoder(accepted)
    return encode(_registry()), media_type


def is_allowed(authorization: str, address: str) -> bool:
    """
    True if the request may read the metrics: it bears ``METRICS_TOKEN`` as a bearer token.

    Without a configured token, requests from this machine are allowed in debug mode only: in a
    deployment, every request comes from this machine's proxy.
    """
    if token := pillarbox_settings().METRICS_TOKEN:
        return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())
    return settings.DEBUG and address in ("127.0.0.1", "::1")


def _registry() -> CollectorRegistry:
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return REGISTRY
    _delete_dead(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    registry.register(_facts)
    return registry


def _delete_dead(folder: Path) -> None:
    """Delete the gauges of dead processes. Their counters stay: these events have happened."""
    import psutil  # noqa: PLC0415  # only processes that share their metrics need it

    for path in folder.glob("gauge_live*.db"):
        if not psutil.pid_exists(int(path.stem.rpartition("_")[2])):
            path.unlink(missing_ok=True)
