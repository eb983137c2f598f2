"""Refusals of subscribe requests."""

from collections.abc import Awaitable
from typing import TypeVar

from ...database import AWAY_OR_SLOW
from ...exceptions import ClientCommandError
from ...logs import get_logger
from ..database import log_away

T = TypeVar("T")

logger = get_logger(__name__)


async def result_of(reading: Awaitable[T], streams: list[str]) -> T:
    """Return the result of a read of the database. If it fails, log why and raise ClientCommandError."""
    try:
        return await reading
    except AWAY_OR_SLOW as error:
        log_away(error)
        raise unavailable() from None
    except Exception:  # permissions and serializers are the project's code
        known = {"action": "subscribe_failed", "streams": streams}
        logger.exception("A subscription failed", extra=known)
        raise ClientCommandError("internal", "The server is at fault. It has been noted.") from None


def unavailable() -> ClientCommandError:
    """Return the refusal while the database or the channel layer is away."""
    return ClientCommandError("unavailable", "Try again later.", temporary=True)


def limit_reached() -> ClientCommandError:
    """Return the refusal of a subscription beyond ``SUBSCRIPTIONS``."""
    return ClientCommandError("limit", "This socket has as many subscriptions as it may have.")


def not_found() -> ClientCommandError:
    """Return the refusal of an object that is missing or forbidden. It doesn't tell which."""
    return ClientCommandError("not_found", "There is no such object, or you may not see it.")
