"""The check that wake-ups reach the workers."""

import time
from contextlib import suppress

import redis
from django.db import DEFAULT_DB_ALIAS

from ...conf import PillarboxSettings, pillarbox_settings
from ...formats import milliseconds
from ...relay import celery_wake_ups
from ..processes import known
from .findings import Finding, Outcome

#: A drain that is running takes up to a second; it responds to the wake-up afterwards.
WAKE_UP_SECONDS = 4.0


def workers_wake_up() -> Outcome:
    """Check that commits wake up the workers that run, and that one of Celery's responds."""
    if not pillarbox_settings().WAKE_UP:
        return [NOBODY]
    alive = [each for each in known(using=DEFAULT_DB_ALIAS) if each.is_alive]
    is_unset = pillarbox_settings().WAKE_UP == PillarboxSettings().WAKE_UP
    if all("swept_at" in each.facts for each in alive if each.kind == "worker"):
        return "not needed: no worker is Celery's" if is_unset else [_unread()]
    if is_unset:
        return [UNSET]
    start, is_sent = time.monotonic(), False
    while time.monotonic() < start + WAKE_UP_SECONDS:
        # On a host under load, one answer of Redis may be late.
        with suppress(redis.RedisError):
            if not is_sent:
                celery_wake_ups.send_wake_up(DEFAULT_DB_ALIAS)
                is_sent = True
            if not celery_wake_ups.is_requested():
                return f"a worker responded within {milliseconds(time.monotonic() - start)}"
        time.sleep(0.005)
    return [UNANSWERED if is_sent else UNSENT]


NOBODY = Finding(
    what='Commits wake up no worker, since PILLARBOX["WAKE_UP"] is empty.',
    why="Notifications wait for the sweep, a second at most.",
    cure="Remove it for `manage.py pillarbox run`, which the default wakes. For Celery's workers, set "
    'PILLARBOX["WAKE_UP"] = "pillarbox.relay.celery_wake_ups.wake_up".',
)


def _unread() -> Finding:
    queue = pillarbox_settings().CELERY_QUEUE
    return Finding(
        what=f'Commits send messages to Celery\'s queue "{queue}", and no worker reads it.',
        why="Notifications wait for the sweep, a second at most.",
        cure=f"Start `celery -A … worker --queues {queue}`, or remove WAKE_UP from PILLARBOX: by default "
        "commits wake `manage.py pillarbox run`.",
    )


UNSET = Finding(
    what="Commits don't wake up Celery's workers.",
    why="Notifications wait for the sweep, a second at most.",
    cure='Set PILLARBOX["WAKE_UP"] = "pillarbox.relay.celery_wake_ups.wake_up".',
)
UNSENT = Finding(
    what=f"Redis accepted no wake-up for {WAKE_UP_SECONDS:g} seconds.",
    why="Notifications wait for the sweep, or, without one, for ever.",
    cure='Make sure that Redis at PILLARBOX["REDIS_URL"] answers within 0.2 seconds, as saves need it.',
    is_grave=True,
)
UNANSWERED = Finding(
    what=f"A wake-up was requested {WAKE_UP_SECONDS:g} seconds ago; no worker came.",
    why="Notifications wait for the sweep, or, without one, for ever.",
    cure="Make sure that the workers have this host's CELERY_BROKER_URL and REDIS_URL, and that "
    "they aren't busy with something else.",
    is_grave=True,
)
