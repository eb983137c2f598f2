"""`manage.py drain`."""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from apps.outbox.backlog import backlog
from apps.outbox.instances import forget
from apps.outbox.minutes import count_minutes
from apps.outbox.replay import carry_out_all
from apps.outbox.retention import prune

from ...app import PRUNE_SECONDS, REPLAY_SECONDS
from ...listener import listen
from ...relay import DATABASE_AWAY, Relay
from ...reports import Reporter

#: A chore is cut short after so long, as a task is. It returns whether it was.
CHORE_SECONDS = 1.0
Chore = Callable[[], bool]


class Command(BaseCommand):
    help = (
        "Publish what is due, without Celery and beat: once, or with --forever until SIGTERM or Ctrl-C. "
        "Safe beside workers. Once, it says what is left, and exits with 1 if it could publish nothing of it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--forever", action="store_true", help="go on, as worker and beat together would"
        )
        parser.add_argument(
            "--interval", type=float, default=1.0, help="seconds between looks (default: 1)"
        )

    def handle(self, *args: Any, forever: bool, interval: float, **_: Any) -> None:
        with Relay(using=DEFAULT_DB_ALIAS) as relay:
            if forever:
                self._drain_forever(relay, interval)
            else:
                self._drain_once(relay)

    def _drain_once(self, relay: Relay) -> None:
        try:
            drained = relay.drain()
        except DATABASE_AWAY as error:
            raise CommandError(f"The database is away: {error}".rstrip()) from None
        left = backlog(using=relay.using).pending
        outcome = f"{drained.published} published, {drained.failed} failed, {left} left."
        if left and not drained.published:
            raise CommandError(
                f"{outcome} The channel layer is away, a worker is at it, or they wait for a retry."
            )
        self.stdout.write(outcome)

    def _drain_forever(self, relay: Relay, interval: float) -> None:
        listen()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            # The batch in hand is settled first.
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write("Draining. Ctrl-C stops.")
        self.stdout.flush()
        due: dict[Chore, float] = {}
        with Reporter("worker", lambda: _facts(relay)):
            while not stop.is_set():
                # Cut short again and again, so that a long backlog doesn't keep it from stopping.
                is_cut_short = relay.try_to_drain(seconds=interval).is_cut_short
                is_cut_short |= _do_chores(due)
                stop.wait(0 if is_cut_short else interval)


def _replay() -> bool:
    return carry_out_all(using=DEFAULT_DB_ALIAS, seconds=CHORE_SECONDS)


def _prune() -> bool:
    return prune(using=DEFAULT_DB_ALIAS, seconds=CHORE_SECONDS).is_cut_short


def _count() -> bool:
    forget(using=DEFAULT_DB_ALIAS)
    return count_minutes(using=DEFAULT_DB_ALIAS, seconds=CHORE_SECONDS).is_cut_short


#: What beat asks workers for besides, and how often, in seconds.
CHORES: dict[Chore, float] = {_replay: REPLAY_SECONDS, _count: 60.0, _prune: PRUNE_SECONDS}


def _do_chores(due: dict[Chore, float]) -> bool:
    """Do what is due, and note when it is again; return whether something was cut short."""
    cut_short = []
    for chore in [chore for chore in CHORES if time.monotonic() >= due.get(chore, 0.0)]:
        due[chore] = time.monotonic() + CHORES[chore]
        with suppress(*DATABASE_AWAY):  # the relay says so
            cut_short += [chore] * chore()
    due.update(dict.fromkeys(cut_short, 0.0))
    return bool(cut_short)


def _facts(relay: Relay) -> dict[str, Any]:
    """Return how it is, as JSON: a worker that needs no beat."""
    return {**relay.facts(), "swept_at": datetime.now(UTC).isoformat()}
