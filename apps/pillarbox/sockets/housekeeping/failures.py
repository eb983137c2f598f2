"""Log lines about failures of housekeeping."""

from collections.abc import Sequence

from ...database import AWAY_OR_SLOW
from ...logs import get_logger
from ..database import log_away

logger = get_logger(__name__)


def log_failure(error: Exception, streams: Sequence[str] = ()) -> None:
    """Log an error of housekeeping, with the streams of the socket that it is about, if it is about one."""
    if isinstance(error, AWAY_OR_SLOW):
        log_away(error)
    else:
        known = {"action": "housekeeping_failed", "streams": streams}
        logger.error("Housekeeping failed", exc_info=error, extra=known)
