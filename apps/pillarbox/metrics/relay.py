"""The metrics of the relay, of wake-ups, and of Daphne's connections."""

from prometheus_client import Counter, Gauge, Histogram

from ..close_codes import CloseCode
from .rows import BUCKETS, Ages

PUBLISHED = Counter(
    "notifier_rows_published", "Rows that the channel layer accepted, without the obsolete ones."
)
DEATHS = Counter("notifier_worker_deaths", "Claimed batches that a killed or frozen worker left.")
DELAY = Ages(
    "notifier_publish_delay_seconds",
    "Age of a row when it was published, from the start of the transaction that wrote it.",
    buckets=BUCKETS,
)
DRAIN = Histogram(
    "notifier_drain_seconds",
    "Duration of a drain. A backlog is published in drains of one second.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
BREAKERS = Gauge(
    "notifier_breaker_open",
    "1 if some process of this worker can't reach the channel layer, or the database.",
    ["of"],
    multiprocess_mode="livemax",
)
WAKE_UPS = Counter(
    "notifier_bells",
    "Wake-ups after commits that announce something. outcome: rung (a wake-up was sent), ringing (one "
    "was requested already), silent (Redis or the broker is away: the sweep will find the rows).",
    ["outcome"],
)
CLOSED = Counter(
    "notifier_sockets_closed",
    "Closed sockets, by close code, whichever side closed them; 1006 are disconnected ones.",
    ["code"],
)

# Looked up once, which also exposes them as 0 before the first event.
REQUESTED, ALREADY_REQUESTED, NOT_REQUESTED = (
    WAKE_UPS.labels(outcome) for outcome in ("rung", "ringing", "silent")
)
_BY_CODE = {
    code: CLOSED.labels(str(code)) for code in (1000, 1001, 1005, 1006, *map(int, CloseCode))
}
_OTHER = CLOSED.labels("other")


def note_closed(code: int | None) -> None:
    """Count a closed socket. Unknown codes count as "other", to bound cardinality."""
    _BY_CODE.get(1006 if code is None else code, _OTHER).inc()
