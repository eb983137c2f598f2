"""What Daphne counts of its sockets."""

from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from ..outbox.metrics import BUCKETS, Ages

SOCKETS = Gauge("notifier_sockets", "Sockets that are open now.", multiprocess_mode="livesum")
SUBSCRIPTIONS = Gauge(
    "notifier_subscriptions", "Subscriptions of those sockets.", multiprocess_mode="livesum"
)
LAYER_UP = Gauge(
    "notifier_channel_layer_up",
    "1 if this process hears the channel layer, or needs none yet; 0 while it is away.",
    multiprocess_mode="livemin",
)
READS_WAITING = Gauge(
    "notifier_database_reads_waiting",
    "Reads of the database, for sockets, that wait for one of DATABASE_THREADS.",
    multiprocess_mode="livesum",
)
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


class Deliveries(Collector):
    """
    How many notifications sockets were sent. Counted by the event loop alone, and so without a lock.

    Each of a process's many thousand deliveries a second pays for it.
    """

    count = 0

    def collect(self) -> Iterator[Metric]:
        """Called when somebody reads the metrics."""
        text = "Notifications that sockets of this process were sent."
        yield CounterMetricFamily("notifier_deliveries", text, value=self.count)


deliveries = Deliveries()
REGISTRY.register(deliveries)
