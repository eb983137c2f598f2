"""
Wake-ups: a Redis key that marks a wake-up as requested, and one message for each request.

Here the message is published by Redis, for `manage.py pillarbox run`. `celery_wake_ups` sends Celery's, and
has a key of its own: a process that clears a request has received its message, or looked without one.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..layer.addresses import UNUSABLE, wake_up_host
from ..layer.redis_clients import redis_client
from ..logs import get_logger
from ..metrics.relay import ALREADY_REQUESTED, NOT_REQUESTED, REQUESTED
from .breaker import Breaker

logger = get_logger(__name__)

#: The key, and the channel of Redis' messages.
KEY = "pillarbox:run"
#: A requested wake-up whose message was lost expires after this long, or with the next drain of a sweep.
#: Long, because each further request leaves another message in the queue while workers are away.
REQUEST_SECONDS = 3600
#: How long a save may wait for Redis, and how long Redis and the broker aren't used after one was away.
ANSWER_SECONDS = 0.2
COOL_DOWN_SECONDS = 5.0
#: A signal's handler doesn't end a wait for Redis' messages, so the wait is cut into pieces.
GLANCE_SECONDS = 0.2

_breaker = Breaker(first=COOL_DOWN_SECONDS, longest=COOL_DOWN_SECONDS, jitter=lambda: 1.0)


def wake_up(using: str) -> None:
    """
    Wake up each `manage.py pillarbox run`, unless a wake-up is requested already.

    Never raises, and never waits long. Called after a commit; ``using`` is the alias of the database with
    rows to publish. Does nothing without a Redis: rows then wait for the sweep.
    """
    if wake_up_host():
        unless_away(lambda: request(KEY, using, lambda: _redis().publish(KEY, using)))


def request(key: str, using: str, send: Callable[[], Any]) -> None:
    """
    Mark a wake-up as requested, and call ``send``, which sends its message, unless it is marked already.

    Raises the errors of Redis and of ``send``. After an error of ``send`` the wake-up isn't marked.
    """
    with _left_if_demoted():
        is_new = _redis().set(key, using, nx=True, px=REQUEST_SECONDS * 1000)
    if not is_new:
        ALREADY_REQUESTED.inc()
        return
    try:
        send()
    except Exception:
        clear_request(key)  # or else later commits would wait for a message that was never sent
        raise
    REQUESTED.inc()


def clear_request(key: str = KEY) -> None:
    """Clear the requested wake-up. Called before the outbox is read, so later commits request another."""
    try:
        client = _redis()
    except UNUSABLE:  # there is no Redis
        return
    try:
        with _left_if_demoted():
            client.delete(key)
    except redis.RedisError:
        logger.debug("Redis is away: no wake-up is cleared", extra={"action": "no_wake_up"})


def is_requested(key: str = KEY) -> bool:
    """True if a wake-up was requested, and no process has responded. Raises RedisError if Redis is away."""
    return bool(_redis().exists(key))


def unless_away(request: Callable[[], None]) -> None:
    """Call ``request``, which uses Redis or the broker, unless one of them was just away. Never raises."""
    if _breaker.refuses:
        NOT_REQUESTED.inc()
        return
    try:
        request()
    except Exception as error:  # noqa: BLE001  # the save is committed, and the sweep finds its rows
        NOT_REQUESTED.inc()
        _breaker.fail(error)
        logger.warning("No worker is woken: %s", _breaker.why, extra={"action": "no_wake_up"})
    else:
        _breaker.succeed()


class Listener:
    """A listener to the wake-ups that `wake_up` sends. Its connection is opened at the first wait."""

    def __init__(self) -> None:
        self._messages: Any = None

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """
        Return at the next wake-up, or after some seconds, or soon after ``stop`` is set.

        It may return earlier, when it has connected. Without Redis it waits for the time alone.
        """
        end = time.monotonic() + seconds
        while not self._heard(min(seconds, GLANCE_SECONDS), stop):
            seconds = end - time.monotonic()
            if stop.is_set() or seconds <= 0:
                return

    def _heard(self, seconds: float, stop: threading.Event) -> bool:
        """Return whether Redis has sent anything within some seconds."""
        try:
            if self._messages is None:
                self._messages = _redis().pubsub()  # type: ignore[no-untyped-call]
                self._messages.subscribe(KEY)
            return self._messages.get_message(timeout=seconds) is not None
        except (redis.RedisError, *UNUSABLE):
            self.close()
            stop.wait(seconds)
            return False

    def close(self) -> None:
        """Close the connection. The next wait opens another."""
        if self._messages is not None:
            self._messages.close()
        self._messages = None


@contextmanager
def _left_if_demoted() -> Iterator[None]:
    """Close the connections if Redis has become a replica: its address may lead to the new primary now."""
    try:
        yield
    except redis.ReadOnlyError:
        _redis().connection_pool.disconnect()
        raise


@lru_cache
def _redis() -> redis.Redis:
    """Return a client of the Redis for wake-ups. Raises ValueError if no address is known."""
    if not (host := wake_up_host()):
        raise ValueError("No Redis for wake-ups is known.")
    return redis_client(
        host,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )
