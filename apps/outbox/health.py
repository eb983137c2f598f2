"""Is it well? One word, and for each thing that is not well a sentence that says what to do. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from .backlog import Backlog
from .minutes import Rates
from .running import Running

#: What has waited so long, while somebody could have published it, waits too long.
LONG_SECONDS = 10.0
#: On an idle site, too, the sweep has workers drain each second; reports are five seconds old at most.
SILENT_SECONDS = 20.0

READ_MEANWHILE = "Sockets are served from the database meanwhile."
DOCTOR = "See `manage.py outbox doctor`."


class State(StrEnum):
    """The word."""

    OK = "OK"
    #: Something is wrong, and notifications arrive, if later; or somebody has to decide.
    DEGRADED = "DEGRADED"
    #: Notifications wait, and nothing moves them.
    STALLED = "STALLED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The word and its reasons, the gravest first."""

    state: State
    reasons: tuple[str, ...]


def judge(backlog: Backlog, rates: Rates, running: Running) -> Verdict:
    """
    Return how it is.

    An idle site is well. So is one with old failed rows that nobody has decided on: they are said, but a
    day after they failed they are no alarm any more.
    """
    stalled = [*_stalled(backlog, rates, running)]
    degraded = [
        *_transport(backlog, running),
        *_processes(backlog, running),
        *_rows(backlog, rates, running),
    ]
    if stalled:
        return Verdict(state=State.STALLED, reasons=(*stalled, *degraded))
    if degraded:
        return Verdict(state=State.DEGRADED, reasons=tuple(degraded))
    return Verdict(state=State.OK, reasons=(*_remarks(backlog),))


def _stalled(backlog: Backlog, rates: Rates, running: Running) -> Iterator[str]:
    """Why rows wait that nobody moves. An outage is none while Daphne serves them from the database."""
    if not _is_late(backlog) or _moves(rates, running):
        return
    what = f"{_waits(backlog)};"
    if not running.workers:
        yield f"{what} no worker runs. Start the worker process. {_meanwhile(running)}{DOCTOR}"
    elif _is_layer_away(running):
        if not running.daphnes:
            yield f"{what} no Daphne serves them from the database. Start the daphne process."
    elif running.drained_seconds > LONG_SECONDS:
        yield (
            f"{what} no worker has drained for {span(running.drained_seconds)}. "
            f"Restart the worker process. {_meanwhile(running)}{DOCTOR}"
        )
    else:
        yield (
            f"{what} workers drain, but publish nothing: perhaps somebody holds a lock. "
            f"{_meanwhile(running)}{DOCTOR}"
        )


def _transport(backlog: Backlog, running: Running) -> Iterator[str]:
    """What is away between the processes. Notifications wait for it, unharmed."""
    why = _breaker(running)
    costs = f"{_waits(backlog)}. " if backlog.pending else ""
    costs += _meanwhile(running)
    if why or running.deaf:
        yield (
            f"The channel layer is away{f' ({why})' if why else ''}. {costs}"
            "Start Redis, or mend the way to it."
        )
    if running.broker:
        yield (
            f"The broker is away ({running.broker}): nobody asks workers to drain. "
            f"{'' if why or running.deaf else costs}Start it, or mend the way to it."
        )


def _processes(backlog: Backlog, running: Running) -> Iterator[str]:
    """What should run, or work, and doesn't."""
    if not running.workers and not _is_late(backlog):
        yield f"No worker runs: what is committed will wait. Start the worker process. {DOCTOR}"
    if not running.beats:
        yield (
            "No beat runs: whatever loses its wake-up waits for the next change. "
            "Start the beat process."
        )
    elif not running.broker and running.swept_seconds > SILENT_SECONDS:
        yield f"Beat has not swept for {span(running.swept_seconds)}. Restart the beat process."
    elif running.workers and not _is_late(backlog) and not _may_drain(running):
        yield (
            f"No worker has drained for {span(running.drained_seconds)}, though beat asks them to. "
            f"Restart the worker process. {DOCTOR}"
        )
    if not running.daphnes:
        yield "No Daphne runs: there are no sockets. Start the daphne process."


def _rows(backlog: Backlog, rates: Rates, running: Running) -> Iterator[str]:
    """What is wrong with rows, while the processes run."""
    if _is_late(backlog) and _moves(rates, running):
        yield (
            f"{_waits(backlog)}: workers publish {rates.published:.0f} a second, and "
            f"{rates.captured:.0f} come. If it doesn't go down, start more workers."
        )
    if backlog.retrying:
        yield (
            f"{_count(backlog.retrying)} could not be published, and will be tried again; what is behind "
            "in the same streams waits. See the errors: Tried again later, below."
        )
    if backlog.failed_lately:
        yield (
            f"{_count(backlog.failed_lately)} failed in the last 24 hours, and nobody has replayed them. "
            "See their causes below, mend them, and replay."
        )


def _remarks(backlog: Backlog) -> Iterator[str]:
    if backlog.pending:
        yield f"{_count(backlog.pending)} on the way."
    else:
        yield "Nothing waits."
    if backlog.unreplayed:
        yield f"{_count(backlog.unreplayed)} failed more than a day ago, and nobody has replayed them."


def _is_late(backlog: Backlog) -> bool:
    return backlog.lag_seconds is not None and backlog.lag_seconds > LONG_SECONDS


def _moves(rates: Rates, running: Running) -> bool:
    """Whether somebody publishes, and has drained since what is late became due."""
    is_drained = running.workers > 0 and running.drained_seconds <= LONG_SECONDS
    return is_drained and rates.published > 0


def _drains(running: Running) -> bool:
    return running.workers > 0 and running.drained_seconds <= SILENT_SECONDS


def _may_drain(running: Running) -> bool:
    """Whether they drain, or couldn't, for a reason that is said elsewhere."""
    return _drains(running) or _is_layer_away(running)


def _breaker(running: Running) -> str | None:
    """Return why the layer is away. One worker's word counts as long as none drains as it should."""
    return None if _drains(running) else running.breaker


def _is_layer_away(running: Running) -> bool:
    """Whether what is between the processes is away: then it is no wonder that nothing is published."""
    return bool(_breaker(running) or running.broker or running.deaf)


def _meanwhile(running: Running) -> str:
    return f"{READ_MEANWHILE} " if running.daphnes else ""


def _waits(backlog: Backlog) -> str:
    verb = "waits" if backlog.pending == 1 else "wait"
    more = " or more" if backlog.is_more else ""
    # Who waits for another attempt may be old, and is no measure of the others.
    age = span(backlog.lag_seconds or backlog.oldest_seconds or 0.0)
    return f"{_count(backlog.pending, more)} {verb}, the oldest for {age}"


def _count(rows: int, more: str = "") -> str:
    return f"{rows:,}{more} notification{'' if rows == 1 else 's'}".replace(
        ",", "\N{NO-BREAK SPACE}"
    )


def span(seconds: float) -> str:
    """Return a time as people say it: ``38 s``, ``12 min``, ``5 h``, ``3 d``."""
    for limit, length, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
