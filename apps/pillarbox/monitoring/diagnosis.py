"""The diagnosis: which problems the site has, and the overall state that follows. Pure functions."""

from collections.abc import Iterator
from dataclasses import dataclass

from . import problems
from .facts import Facts
from .problems import Problem, State
from .thresholds import LATE_SECONDS, SILENT_SECONDS

GRAVEST_FIRST = [*State][::-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """The problems, the gravest first, and a sentence about the backlog for when all is well."""

    problems: tuple[Problem, ...]
    remark: str

    @property
    def state(self) -> State:
        """The worst state that a problem causes. An idle site is OK."""
        return self.problems[0].state if self.problems else State.OK

    @property
    def reasons(self) -> list[str]:
        """The sentences for the state; never empty."""
        remark = [self.remark] if self.state is State.OK else []
        return [*remark, *map(str, self.problems)]


def diagnose(facts: Facts) -> Diagnosis:
    """Return the diagnosis. Every view of the site's health is a view of it."""
    of_processes = [*_running(facts), *_connected(facts), *_working(facts)]
    found = [*of_processes, *_late(facts, of_processes), *_rows(facts)]
    pending = facts.backlog.pending
    return Diagnosis(
        # Sorting keeps the order of equals: processes before the rows that wait for them.
        problems=tuple(sorted(found, key=lambda each: GRAVEST_FIRST.index(each.state))),
        remark=f"{problems.notifications(pending)} on the way."
        if pending
        else "No notification waits.",
    )


def _running(facts: Facts) -> Iterator[Problem]:
    """Yield the kinds of processes that don't run, or of which some are gone."""
    seen = facts.processes
    for kind, alive in (("worker", seen.workers), ("beat", seen.beats), ("daphne", seen.daphnes)):
        gone = [each for each in facts.reports if each.kind == kind and not each.is_alive]
        if not alive:
            yield problems.none_runs(kind, gone)
        elif gone:
            yield problems.some_gone(kind, gone)


def _connected(facts: Facts) -> Iterator[Problem]:
    """Yield the outages of channel layer and broker. Notifications wait for their end; none is lost."""
    seen = facts.processes
    if seen.breakers:
        # A worker with nothing to publish doesn't notice that the layer is back.
        others = seen.workers - len(seen.breakers)
        is_made_up_for = others > 0 and seen.drained_seconds <= SILENT_SECONDS
        state = State.OK if is_made_up_for else State.DEGRADED
        yield problems.workers_without_layer(seen.breakers, state)
    if seen.without_layer:
        yield problems.daphnes_without_layer(seen.without_layer)
    if seen.brokers:
        yield problems.broker_away(seen.brokers)


def _working(facts: Facts) -> Iterator[Problem]:
    """Yield that beat doesn't sweep, or workers don't drain, unless another problem explains it."""
    seen = facts.processes
    # Rows that are late make a shorter silence a problem.
    most = LATE_SECONDS if _is_late(facts) else SILENT_SECONDS
    if not seen.beats or _is_cut_off(facts):
        return
    if seen.swept_seconds > SILENT_SECONDS:
        yield problems.not_swept(seen.swept_seconds)
    elif seen.workers and seen.drained_seconds > most:
        yield problems.not_drained(seen.drained_seconds)


def _late(facts: Facts, of_processes: list[Problem]) -> Iterator[Problem]:
    """
    Yield that rows are late. The site is STALLED if nothing is published.

    An outage of the channel layer or broker doesn't count while Daphne serves sockets from the database.
    """
    seen = facts.processes
    if not _is_late(facts):
        return
    if seen.workers and seen.drained_seconds <= LATE_SECONDS and facts.rates.settled:
        yield problems.too_slow(facts.backlog, facts.rates)
        return
    is_served = seen.workers and seen.daphnes and _is_cut_off(facts)
    yield problems.unpublished(
        facts.backlog,
        seen,
        is_explained=any(
            each.check != "daphne" and each.state is not State.OK for each in of_processes
        ),
        state=State.DEGRADED if is_served else State.STALLED,
    )


def _rows(facts: Facts) -> Iterator[Problem]:
    """Yield the problems of rows that don't depend on which processes run."""
    if facts.backlog.retrying:
        yield problems.retried(facts.backlog.retrying)
    for unknown in facts.backlog.unknown:
        yield problems.unknown_type(unknown)
    if facts.backlog.unreplayed:
        yield problems.failed(facts.backlog)


def _is_late(facts: Facts) -> bool:
    """Return whether a due row has waited for too long."""
    return (facts.backlog.lag_seconds or 0.0) > LATE_SECONDS


def _is_cut_off(facts: Facts) -> bool:
    """Return whether an outage of channel layer or broker explains that nothing is published."""
    return any(each.state is not State.OK for each in _connected(facts))
