"""`manage.py pillarbox run`."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS

from ...database import AWAY_OR_ENDED
from ...monitoring.minute_counts import count_minutes
from ...monitoring.probes.listener import listen
from ...monitoring.processes import forget
from ...monitoring.reporter import Reporter
from ...relay import wake_ups
from ...relay.relay import Relay
from ...replay.replay import carry_out_all
from ...schedule import PRUNE_SECONDS, REPLAY_SECONDS, SWEEP_SECONDS
from ...stream.retention import prune
from ..command_line import ExitCode

#: A drain is cut short after this long, so that chores get their turn.
DRAIN_SECONDS = 1.0
#: A chore is cut short after this long, so that it doesn't delay notifications. It returns whether it was.
CHORE_SECONDS = 0.2
Chore = Callable[[], bool]

HELP = """
Do all recurring work in one process, without Celery, until SIGTERM or Ctrl-C.

It publishes notifications as they are committed, sweeps, carries out replays, prunes, and writes the
counts of the dashboard. Several may run, also beside Celery's workers: they share the work.
"""


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--sweep",
        type=float,
        default=SWEEP_SECONDS,
        metavar="SECONDS",
        help=f"how often to look for rows whose wake-up was lost (default: {SWEEP_SECONDS})",
    )


def run(options: Mapping[str, Any], stdout: OutputWrapper) -> int:
    """Work until a signal; return the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # The claimed batch is settled first.
        signal.signal(number, lambda *_: stop.set())
    stdout.write("Publishing notifications. Ctrl-C stops.")
    stdout.flush()
    listen()
    with (
        Relay(using=DEFAULT_DB_ALIAS, ends_process=True) as relay,
        Reporter("worker", lambda: _facts(relay)),
    ):
        _work(relay, options["sweep"], stop)
    return ExitCode.DONE


def _work(relay: Relay, sweep: float, stop: threading.Event) -> None:
    due: dict[Chore, float] = {}
    listener = wake_ups.Listener()
    while not stop.is_set():
        wake_ups.clear_request()
        # Drains are cut short, so that a long backlog doesn't delay the stop.
        is_cut_short = relay.try_to_drain(seconds=DRAIN_SECONDS).is_cut_short
        is_cut_short |= _run_due_chore(due)
        listener.wait(0 if is_cut_short else sweep, stop)
    listener.close()


def _replay() -> bool:
    return carry_out_all(using=DEFAULT_DB_ALIAS, seconds=CHORE_SECONDS)


def _prune() -> bool:
    return prune(using=DEFAULT_DB_ALIAS, seconds=CHORE_SECONDS).is_cut_short


def _count() -> bool:
    forget(using=DEFAULT_DB_ALIAS)
    return count_minutes(using=DEFAULT_DB_ALIAS, seconds=CHORE_SECONDS).is_cut_short


#: The tasks that beat sends besides drains, and their intervals in seconds.
CHORES: dict[Chore, float] = {_replay: REPLAY_SECONDS, _count: 60.0, _prune: PRUNE_SECONDS}


def _run_due_chore(due: dict[Chore, float]) -> bool:
    """Run the chore that has been due for longest, and schedule it again; return whether it was cut short."""
    chore = min(CHORES, key=lambda one: due.get(one, 0.0))
    if time.monotonic() < due.get(chore, 0.0):
        return False
    is_cut_short = False
    with suppress(*AWAY_OR_ENDED):  # the relay logs this
        is_cut_short = chore()
    due[chore] = time.monotonic() + (0.0 if is_cut_short else CHORES[chore])
    return is_cut_short


def _facts(relay: Relay) -> dict[str, Any]:
    """Return the facts that this process reports, as JSON. A worker that sweeps needs no beat."""
    return {**relay.facts(), "swept_at": datetime.now(UTC).isoformat()}
