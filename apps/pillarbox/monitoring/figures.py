"""The figures behind the overall status, as text for operators. Pure functions."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..formats import age, number, rate
from .backlog import Backlog
from .facts import Facts
from .minute_counts import RATE_SECONDS, Rates
from .process_summary import ProcessSummary
from .processes import ProcessReport
from .thresholds import LATE_SECONDS, SILENT_SECONDS

NEVER = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A named figure with a note, and perhaps the changelist's query for the rows that it counts."""

    name: str
    value: str
    note: str = ""
    query: str = ""
    is_bad: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessLine:
    """A line of the table of processes."""

    kind: str
    name: str
    started: str
    reported: str
    is_alive: bool


def figures(facts: Facts) -> list[Figure]:
    """Return the figures, the most important first."""
    return [*_of_rows(facts.backlog), *_of_rates(facts.rates), *_of_processes(facts.processes)]


def process_lines(processes: Iterable[ProcessReport]) -> list[ProcessLine]:
    """Return a line for each known process. Processes that ended in order are not known any more."""
    return [
        ProcessLine(
            kind=each.kind,
            name=each.name,
            started=f"{each.started_at:%Y-%m-%d %H:%M:%S} UTC",
            reported=f"{age(each.silent_seconds)} ago",
            is_alive=each.is_alive,
        )
        for each in processes
    ]


def _of_rows(backlog: Backlog) -> list[Figure]:
    oldest, lag = backlog.oldest_seconds, backlog.lag_seconds
    return [
        Figure(
            name="Waiting",
            value=f"{number(backlog.pending)}{'+' if backlog.is_more else ''}",
            note="" if oldest is None else f"the oldest for {age(oldest)}",
            query="state=pending",
            is_bad=lag is not None and lag > LATE_SECONDS,
        ),
        Figure(
            name="To be retried",
            value=number(backlog.retrying),
            note="could not be rendered or published",
            query="state=retrying",
            is_bad=backlog.retrying > 0,
        ),
        Figure(
            name="Failed, to be replayed",
            value=number(backlog.unreplayed),
            note=f"of {number(backlog.failed)} failed",
            query="state=unreplayed",
            is_bad=backlog.unreplayed > 0,
        ),
    ]


def _of_rates(rates: Rates) -> list[Figure]:
    note = f"a second, in the last {number(RATE_SECONDS)} s"
    return [
        Figure(name="Coming in", value=rate(rates.captured), note=note),
        Figure(
            name="Going out",
            value=rate(rates.published),
            note=f"{note}; obsolete: {rate(rates.obsolete)}",
        ),
    ]


def _of_processes(processes: ProcessSummary) -> list[Figure]:
    return [
        Figure(
            name="Breaker",
            value="open" if processes.breakers else "closed" if processes.workers else NEVER,
            note=next(iter(processes.breakers.values()), "to the channel layer"),
            is_bad=bool(processes.breakers),
        ),
        _when("Last good drain", processes.workers, processes.drained_seconds, "worker"),
        _when("Last sweep", processes.beats, processes.swept_seconds, "beat"),
        Figure(
            name="Sockets",
            value=number(processes.sockets) if processes.daphnes else NEVER,
            note=f"{number(processes.subscriptions)} subscriptions, {processes.daphnes} Daphne",
            is_bad=not processes.daphnes,
        ),
    ]


def _when(name: str, processes: int, seconds: float, kind: str) -> Figure:
    return Figure(
        name=name,
        value=f"{age(seconds)} ago" if processes else NEVER,
        note=f"{processes} {kind}{'' if processes == 1 else 's'}",
        is_bad=not processes or seconds > SILENT_SECONDS,
    )
