"""Prometheus metrics of a Daphne process and its sockets."""

from collections.abc import Callable, Iterator
from typing import ClassVar

from prometheus_client import REGISTRY, Counter, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from .rows import BUCKETS, Ages

DELAY = Ages(
    "notifier_delivery_delay_seconds",
    "Age of a notification when it was sent to the first socket of this process. Only notifications that "
    "arrived by the channel layer. Measured from the start of the transaction that wrote the row.",
    buckets=BUCKETS,
)
CATCH_UPS = Counter(
    "notifier_catch_ups",
    "Catch-ups: a socket had to read from the database. cause: gap (a message arrived out of order, was too "
    "large for the channel layer, or announced a move), position_check (a message was lost), behind (Redis "
    "was reconnected, or the socket's queue overflowed), resume (the client reconnected).",
    ["cause"],
)
RESYNCS = Counter(
    "notifier_resyncs",
    "Resyncs: a live socket lost continuity, and its client was sent the present state.",
    ["reason"],
)
DUPLICATES = Counter(
    "notifier_duplicates_dropped",
    "Notifications that reached a socket a second time, and were dropped.",
)
DROPPED = Counter(
    "notifier_messages_dropped",
    "Messages dropped because a channel's queue was full. Sockets read their rows from the database.",
)

# Labels are looked up once, for speed, and so that each is exported as 0 before its first event.
GAP, LOST, BEHIND, RESUME = (
    CATCH_UPS.labels(cause) for cause in ("gap", "position_check", "behind", "resume")
)
RESYNCED = {reason: RESYNCS.labels(reason) for reason in ("pruned", "epoch", "moved", "rights")}


class SocketGauges(Collector):
    """
    The gauges of a process with sockets, read at each scrape.

    Deliveries are counted here, too. Only the event loop counts them, so they need no lock, which would
    cost too much at thousands of deliveries a second.
    """

    #: Name → help text.
    HELP: ClassVar = {
        "notifier_sockets": "Open sockets.",
        "notifier_subscriptions": "Subscriptions of the open sockets.",
        "notifier_channel_layer_up": "1 if the channel layer is live, or there are no sockets; 0 if away.",
        "notifier_database_reads_waiting": "Database reads of sockets that wait for a thread.",
    }

    def __init__(self) -> None:
        self.deliveries = 0
        #: Name → function that returns the gauge's value. Any thread may call it.
        self.functions: dict[str, Callable[[], float]] = {}

    def describe(self) -> list[Metric]:
        """Return no metrics, so that registering the collector calls none of its functions."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        text = "Notifications sent to sockets of this process."
        yield CounterMetricFamily("notifier_deliveries", text, value=self.deliveries)
        for name, read in self.functions.items():
            yield GaugeMetricFamily(name, self.HELP[name], value=read())


gauges = SocketGauges()
REGISTRY.register(gauges)
