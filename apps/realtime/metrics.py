"""What Daphne counts of its sockets."""

from collections.abc import Callable, Iterator
from typing import ClassVar

from prometheus_client import REGISTRY, Counter, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ..outbox.metrics import BUCKETS, Ages

DELAY = Ages(
    "notifier_delivery_delay_seconds",
    "Age of a notification when the first socket of this process was sent it, of those that the channel "
    "layer brought. Counted from the beginning of the transaction that wrote it.",
    buckets=BUCKETS,
)
CATCH_UPS = Counter(
    "notifier_catch_ups",
    "Times that a socket was told to read from the database. cause: gap (a push came out of turn, was too "
    "large for the channel layer, or is of a move), position_check (a push got lost), behind (Redis was "
    "reconnected to, or the socket's queue was full), resume (its client came back).",
    ["cause"],
)
RESYNCS = Counter(
    "notifier_resyncs",
    "Times that continuity was lost on a live socket, and its client was sent the present state.",
    ["reason"],
)
DUPLICATES = Counter(
    "notifier_duplicates_dropped",
    "Notifications that came to a socket again, and were not shown again.",
)
DROPPED = Counter(
    "notifier_messages_dropped",
    "Messages thrown away because a socket's queue was full. What was in them is read from the database.",
)

# Each is looked up once, and shown as 0 before it happens.
GAP, LOST, BEHIND, RESUME = (
    CATCH_UPS.labels(cause) for cause in ("gap", "position_check", "behind", "resume")
)
RESYNCED = {reason: RESYNCS.labels(reason) for reason in ("pruned", "epoch", "moved")}


class Present(Collector):
    """
    What is so now: asked when somebody reads the metrics, and only where there are sockets.

    Deliveries stand here too: they are counted by the event loop alone, and so without a lock. Each of
    the many thousand in a second pays for it.
    """

    #: Name → what it is.
    gauges: ClassVar = {
        "notifier_sockets": "Sockets that are open now.",
        "notifier_subscriptions": "Subscriptions of those sockets.",
        "notifier_channel_layer_up": "1 if the channel layer is heard, or nobody listens; 0 if it is away.",
        "notifier_database_reads_waiting": "Reads for sockets that wait for one of DATABASE_THREADS.",
    }

    def __init__(self) -> None:
        self.deliveries = 0
        #: Name → what returns it. Any thread may ask.
        self.asked: dict[str, Callable[[], float]] = {}

    def describe(self) -> list[Metric]:
        """Return nothing: registering it asks nobody."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called when somebody reads the metrics."""
        text = "Notifications that sockets of this process were sent."
        yield CounterMetricFamily("notifier_deliveries", text, value=self.deliveries)
        for name, ask in self.asked.items():
            yield GaugeMetricFamily(name, self.gauges[name], value=ask())


present = Present()
REGISTRY.register(present)
