"""A broker connection that reconnects within seconds."""

from typing import Any

from celery.app.amqp import AMQP
from kombu import Connection

#: Intervals between attempts, in seconds. Kombu's own grow to half a minute.
FIRST_SECONDS, STEP_SECONDS, LONGEST_SECONDS = 0.5, 0.5, 2.0


class PersistentConnection(Connection):
    """A connection that retries for ever, at short intervals."""

    def ensure_connection(self, errback: Any = None, *args: Any, **options: Any) -> Any:
        """Called by the worker when it starts, and when it has lost the broker. Connects."""
        intervals = {
            "interval_start": FIRST_SECONDS,
            "interval_step": STEP_SECONDS,
            "interval_max": LONGEST_SECONDS,
        }
        return super().ensure_connection(errback, *args, **{**intervals, **options})


class Amqp(AMQP):
    """Celery's AMQP, which connects by `PersistentConnection`."""

    Connection = PersistentConnection
