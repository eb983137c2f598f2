"""The worker's connection to the broker: back within seconds of the broker's return."""

from typing import Any

from celery.app.amqp import AMQP
from kombu import Connection

#: Between attempts, in seconds. Kombu's own go up to half a minute.
FIRST_SECONDS, STEP_SECONDS, LONGEST_SECONDS = 0.5, 0.5, 2.0


class PatientConnection(Connection):
    """Tries for ever, and often."""

    def ensure_connection(self, errback: Any = None, *args: Any, **options: Any) -> Any:
        """Connect; called by the worker when it starts, and when it has lost the broker."""
        intervals = {
            "interval_start": FIRST_SECONDS,
            "interval_step": STEP_SECONDS,
            "interval_max": LONGEST_SECONDS,
        }
        return super().ensure_connection(errback, *args, **{**intervals, **options})


class Amqp(AMQP):
    """Celery's, with this connection."""

    Connection = PatientConnection
