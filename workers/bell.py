"""The bell: one Redis key that says a worker was asked to look, and one Celery message that asks."""

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import redis
from celery import Celery
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from .app import app
from .metrics import RINGING, RUNG, SILENT

logger = logging.getLogger(__name__)

KEY = "outbox:bell"
#: A bell whose message got lost rings again after this long, and at once when the next sweep has drained.
#: Long, because while workers are away each ring is a message more that waits for them.
RINGING_SECONDS = 3600
#: How long a save may wait for Redis, once; and how long nobody asks Redis after it was away.
ANSWER_SECONDS = 0.2
COOL_DOWN_SECONDS = 5.0
DRAIN, REPLAY = "outbox.drain", "outbox.replay"

_away_until = 0.0


def ring(using: str) -> None:
    """
    Ask a worker to look, if none is asked already. Never raises, never waits long.

    Called after a commit; ``using`` is the database that has something to publish.
    """

    def ask() -> None:
        if _redis().set(KEY, using, nx=True, px=RINGING_SECONDS * 1000):
            _send(app, DRAIN)
            RUNG.inc()
        else:
            RINGING.inc()

    _unless_away(ask)


def ask_for_replay(using: str) -> None:
    """Ask a worker to carry out what operators decided. As `ring` it is a hint: beat asks, too."""
    _unless_away(lambda: _send(app, REPLAY))


def clear() -> None:
    """Let the bell be rung again. Before the outbox is read: what commits later rings anew."""
    try:
        _redis().delete(KEY)
    except redis.RedisError:
        logger.debug("Redis is away", extra={"action": "bell_silent"})


def is_ringing() -> bool:
    """Whether a worker was asked to look, and none has come yet. Raises RedisError if Redis is away."""
    return bool(_redis().exists(KEY))


def sweep(beat: Celery) -> bool:
    """
    Ask a worker to look, bell or not, unless one is asked already; return whether it was.

    Raises what the broker of the app ``beat`` raises, if it is away.
    """
    return send_unless_waiting(beat, DRAIN, most=0)


def send_unless_waiting(celery: Celery, task: str, *, most: int) -> bool:
    """
    Send a task, unless more than ``most`` messages wait already; return whether it was sent.

    Read off the queue, so that an absent worker finds a message or two, not one for each time.
    Raises what the broker raises, if it is away.
    """
    with celery.pool.acquire(block=True) as connection:
        if waiting(celery, connection) > most:
            return False
    _send(celery, task)
    return True


def waiting(celery: Celery, connection: Any) -> int:
    """Return how many messages wait for a worker."""
    queue: Any = celery.amqp.queues[celery.conf.task_default_queue](connection.default_channel)
    return int(queue.queue_declare().message_count)


def _unless_away(ask: Callable[[], None]) -> None:
    """Call what talks to Redis or the broker, unless one of them was away a moment ago. Never raises."""
    global _away_until  # noqa: PLW0603  # a breaker is the state of its process
    if time.monotonic() < _away_until:
        SILENT.inc()
        return
    try:
        ask()
    except Exception as error:  # noqa: BLE001  # whatever it is, the save is committed and the sweep comes
        SILENT.inc()
        _away_until = time.monotonic() + COOL_DOWN_SECONDS
        logger.warning("The bell is silent: %s", error, extra={"action": "bell_silent"})


def _send(celery: Celery, task: str) -> None:
    celery.send_task(task, retry=False, ignore_result=True)


@lru_cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )
