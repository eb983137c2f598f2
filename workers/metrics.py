"""What the processes count: the relay, the bell, Daphne's connections."""

from prometheus_client import Counter, Gauge, Histogram

from apps.outbox.metrics import BUCKETS, Ages
from apps.realtime.close_codes import CloseCode

PUBLISHED = Counter("notifier_rows_published", "Rows that the channel layer took.")
RETRIED = Counter(
    "notifier_rows_retried", "Attempts to publish a row that failed, and will be made again."
)
FAILED = Counter(
    "notifier_rows_failed", "Rows whose attempts are spent: they wait for a person to replay them."
)
DEATHS = Counter(
    "notifier_worker_deaths", "Batches that a worker left in hand: it was killed, or frozen."
)
DELAY = Ages(
    "notifier_publish_delay_seconds",
    "Age of a row when it was published, counted from the beginning of the transaction that wrote it.",
    buckets=BUCKETS,
)
DRAIN = Histogram(
    "notifier_drain_seconds",
    "How long a drain took. A backlog is published in drains of a second.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
BREAKERS = Gauge(
    "notifier_breaker_open",
    "1 if, to some process of this worker, the channel layer, or the database, is away.",
    ["of"],
    multiprocess_mode="livemax",
)
BELLS = Counter(
    "notifier_bells",
    "Commits that announce something, and how the bell rang. outcome: rung (a worker was sent for), "
    "ringing (it had been already), silent (Redis or the broker is away: the sweep will find the rows).",
    ["outcome"],
)
CLOSED = Counter(
    "notifier_sockets_closed",
    "Sockets that have ended, by their close code, whoever closed; 1006 of those that were cut.",
    ["code"],
)

# Each is looked up once, and shown as 0 before it happens.
RUNG, RINGING, SILENT = (BELLS.labels(outcome) for outcome in ("rung", "ringing", "silent"))
_BY_CODE = {
    code: CLOSED.labels(str(code)) for code in (1000, 1001, 1005, 1006, *map(int, CloseCode))
}
_OTHER = CLOSED.labels("other")


def note_closed(code: int | None) -> None:
    """Count a socket that has ended. A client may send whatever code it likes: there are not to be many."""
    _BY_CODE.get(1006 if code is None else code, _OTHER).inc()
