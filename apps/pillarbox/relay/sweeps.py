"""The messages that beat sends on schedule."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..logs import get_logger
from . import celery_wake_ups
from .breaker import Breaker

if TYPE_CHECKING:
    from celery import Celery

logger = get_logger(__name__)


class Sweeps:
    """The messages of this process. An outage of the broker is logged once, not at each sweep."""

    def __init__(self) -> None:
        #: Time of the last sweep.
        self._swept_at: datetime | None = None
        #: Open while the broker is away. It refuses no call: the next sweep is due soon.
        self._broker = Breaker()

    def send(self, celery: "Celery", task: str) -> None:
        """
        Send a task, unless messages are queued. Never raises.

        A drain is sent whether or not a wake-up is requested: the message of that wake-up may be lost.
        """
        is_sweep = task == celery_wake_ups.DRAIN
        try:
            celery_wake_ups.send_unless_queued(celery, task, most=0 if is_sweep else 1)
        except Exception as error:  # noqa: BLE001  # brokers have their own errors; the next sweep is due soon
            is_first = not self._broker.is_open
            self._broker.fail(error)
            if is_first:
                why = self._broker.why
                logger.warning("The broker is away: %s", why, extra={"action": "broker_away"})
            return
        self._broker.succeed()
        if is_sweep:
            self._swept_at = datetime.now(UTC)

    def facts(self) -> dict[str, Any]:
        """Return the facts that beat reports about itself, as JSON; from any thread."""
        swept_at = None if self._swept_at is None else self._swept_at.isoformat()
        return {"swept_at": swept_at, "broker": self._broker.why}
