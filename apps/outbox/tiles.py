"""The numbers behind the verdict, as an operator reads them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from .backlog import Backlog
from .health import LONG_SECONDS, SILENT_SECONDS, span
from .instances import Known
from .minutes import RATE_SECONDS, Rates
from .running import Running

NEVER = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A number, its name and what belongs to it; perhaps a query of the list that shows the rows."""

    name: str
    value: str
    note: str = ""
    query: str = ""
    is_bad: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A process, in a line."""

    kind: str
    name: str
    runs: str
    heard: str
    is_alive: bool


def tiles(backlog: Backlog, rates: Rates, running: Running) -> list[Tile]:
    """Return the numbers, what matters most first."""
    return [*_of_rows(backlog), *_of_rates(rates), *_of_processes(running)]


def lines(instances: Iterable[Known]) -> list[Line]:
    """Return the processes, the dead ones too: nobody told them to end."""
    return [
        Line(
            kind=each.kind,
            name=each.name,
            runs=f"{each.started_at:%Y-%m-%d %H:%M:%S} UTC",
            heard=f"{span(each.silent_seconds)} ago",
            is_alive=each.is_alive,
        )
        for each in instances
    ]


def _of_rows(backlog: Backlog) -> list[Tile]:
    oldest, lag = backlog.oldest_seconds, backlog.lag_seconds
    return [
        Tile(
            name="Waiting",
            value=f"{_number(backlog.pending)}{'+' if backlog.is_more else ''}",
            note="" if oldest is None else f"the oldest for {span(oldest)}",
            query="state=pending",
            is_bad=lag is not None and lag > LONG_SECONDS,
        ),
        Tile(
            name="Tried again later",
            value=_number(backlog.retrying),
            note="could not be published",
            query="state=retrying",
            is_bad=backlog.retrying > 0,
        ),
        Tile(
            name="Failed, to be replayed",
            value=_number(backlog.unreplayed),
            note=f"of {_number(backlog.failed)} failed",
            query="state=unreplayed",
            is_bad=backlog.unreplayed > 0,
        ),
    ]


def _of_rates(rates: Rates) -> list[Tile]:
    note = f"a second, in the last {RATE_SECONDS:.0f}"
    return [
        Tile(name="Coming in", value=f"{rates.captured:.1f}", note=note),
        Tile(name="Going out", value=f"{rates.published:.1f}", note=note),
    ]


def _of_processes(running: Running) -> list[Tile]:
    return [
        Tile(
            name="Breaker",
            value="open" if running.breaker else "closed" if running.workers else NEVER,
            note=running.breaker or "to the channel layer",
            is_bad=bool(running.breaker),
        ),
        _when("Last good drain", running.workers, running.drained_seconds, "worker"),
        _when("Last sweep", running.beats, running.swept_seconds, "beat"),
        Tile(
            name="Sockets",
            value=_number(running.sockets) if running.daphnes else NEVER,
            note=f"{_number(running.subscriptions)} subscriptions, {running.daphnes} Daphne",
            is_bad=not running.daphnes,
        ),
    ]


def _when(name: str, processes: int, seconds: float, kind: str) -> Tile:
    return Tile(
        name=name,
        value=f"{span(seconds)} ago" if processes else NEVER,
        note=f"{processes} {kind}{'' if processes == 1 else 's'}",
        is_bad=not processes or seconds > SILENT_SECONDS,
    )


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\N{NO-BREAK SPACE}")
