"""
The problems of a site, in the words of every view: the dashboard, `stats` and the doctor.

`diagnosis` decides which of them there are.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..formats import age, number
from .backlog import Backlog, Unknown
from .minute_counts import Rates
from .process_summary import ProcessSummary
from .processes import ProcessReport
from .thresholds import LATE_SECONDS

#: Number of processes that a sentence names.
MOST_NAMES = 3
#: The doctor's check of each kind of process.
CHECKS = {"worker": "workers", "beat": "beat", "daphne": "daphne"}
#: Why it matters that a kind of process doesn't do its work.
CONSEQUENCES = {
    "worker": "Committed rows wait in the outbox.",
    "beat": "Rows whose wake-up was lost wait, and so do retries. Nothing is pruned.",
    "daphne": "No client can connect, unless `runserver` or another server serves sockets.",
}
STARTED_BY = {
    "worker": "`manage.py pillarbox run`, or a Celery worker",
    "beat": "`manage.py pillarbox run`, or Celery's beat",
    "daphne": "`python -m pillarbox.server pillarbox.asgi:application`, or with your own application",
}
NAMES = {"worker": "worker", "beat": "beat", "daphne": "Daphne"}
RECONNECT = "Start Redis, or repair the connection to it: the host's network and its REDIS_URL."


class State(StrEnum):
    """The overall state in one word, from the best to the worst."""

    OK = "OK"
    #: Something is wrong, but notifications still arrive, perhaps late; or an operator has to decide.
    DEGRADED = "DEGRADED"
    #: Notifications wait, and no process publishes them.
    STALLED = "STALLED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A problem: what is wrong, why it matters, and what to do, in a sentence or two each."""

    #: The doctor's check that reports it.
    check: str
    what: str
    why: str
    cure: str
    #: The overall state that it alone causes. OK makes it a notice: other processes do the work, or nobody
    #: is in a hurry.
    state: State = State.DEGRADED

    def __str__(self) -> str:
        return f"{self.what} {self.why} {self.cure}"


def none_runs(kind: str, gone: Collection[ProcessReport]) -> Problem:
    """Return the problem that no process of a kind runs. ``gone`` are those that ran in the last hour."""
    silent = min((each.silent_seconds for each in gone), default=None)
    last = "" if silent is None else f"; the last one reported {age(silent)} ago"
    return Problem(
        check=CHECKS[kind],
        what=f"No {NAMES[kind]} runs{last}.",
        why=CONSEQUENCES[kind],
        cure=f"Start {STARTED_BY[kind]}. If it was running, its log says how it ended.",
    )


def some_gone(kind: str, gone: Collection[ProcessReport]) -> Problem:
    """Return the notice that some processes of a kind have stopped reporting, while others run."""
    return Problem(
        check=CHECKS[kind],
        what="Reported in the last hour, but no longer: "
        f"{_named([f'{each.name} ({age(each.silent_seconds)} ago)' for each in gone])}.",
        why="A process that was killed, hangs or can't reach the database. Other processes do its work.",
        cure="Look at its log and its host; the kernel kills processes that take too much memory. If it "
        "was stopped on purpose, this notice ends within an hour.",
        state=State.OK,
    )


def workers_without_layer(breakers: Mapping[str, str], state: State) -> Problem:
    """Return the problem that workers, given with their errors, can't reach the channel layer."""
    return Problem(
        check="relay",
        what=f"{_unreachable('the channel layer', breakers)}.",
        why="Other workers publish meanwhile."
        if state is State.OK
        else "Rows wait in the outbox; no attempt is counted, and nothing is lost.",
        cure=RECONNECT,
        state=state,
    )


def daphnes_without_layer(names: Collection[str]) -> Problem:
    """Return the problem that some Daphnes can't reach the channel layer."""
    return Problem(
        check="sockets",
        what=f"{_named(names)} can't reach the channel layer.",
        why="Sockets read notifications from the database, up to POSITION_CHECK_SECONDS late.",
        cure=RECONNECT,
    )


def broker_away(brokers: Mapping[str, str]) -> Problem:
    """Return the problem that beat processes, given with their errors, can't reach the broker."""
    return Problem(
        check="sweep",
        what=f"{_unreachable('the broker', brokers)}.",
        why="Workers aren't woken: rows wait in the outbox, and nothing is lost. Nothing is pruned.",
        cure="Start the broker, or repair the connection to it: the network and CELERY_BROKER_URL.",
    )


def not_drained(seconds: float) -> Problem:
    """Return the problem that workers run, but none has drained for ``seconds``."""
    return Problem(
        check="relay",
        what=f"No worker has drained for {age(seconds)}.",
        why=CONSEQUENCES["worker"],
        cure="Make sure that beat and the workers share a CELERY_BROKER_URL. If so, restart the workers.",
    )


def not_swept(seconds: float) -> Problem:
    """Return the problem that beat runs, but hasn't swept for ``seconds``."""
    return Problem(
        check="sweep",
        what=f"Beat has not swept for {age(seconds)}.",
        why=CONSEQUENCES["beat"],
        cure="Restart beat. If it hangs again, its log says where.",
    )


def too_slow(backlog: Backlog, rates: Rates) -> Problem:
    """Return the problem that rows wait too long, although workers publish."""
    return Problem(
        check="backlog",
        what=f"{waiting(backlog)}.",
        why=f"Workers publish {number(rates.settled)} a second, and {number(rates.captured)} are captured.",
        cure="If the backlog doesn't shrink, start more workers.",
    )


def unpublished(
    backlog: Backlog, processes: ProcessSummary, *, is_explained: bool, state: State
) -> Problem:
    """Return the problem that rows wait too long and nothing is published, perhaps for a known reason."""
    lock = (
        ""
        if is_explained
        else "Workers drain, but publish nothing: perhaps a transaction holds a lock. "
    )
    return Problem(
        check="backlog",
        what=f"{waiting(backlog)}.",
        why=lock
        + (
            "Sockets are served from the database meanwhile."
            if processes.daphnes
            else "No Daphne serves them from the database."
        ),
        cure="They are published once the other problems are solved."
        if is_explained
        else "Run `manage.py pillarbox doctor`: it names old transactions.",
        state=state,
    )


def retried(rows: int) -> Problem:
    """Return the problem that rows wait for another attempt."""
    return Problem(
        check="backlog",
        what=f"{notifications(rows)} could not be rendered or published, and will be retried.",
        why="Later rows of the same streams wait.",
        cure='See their errors in the admin, under Notifications: "To be retried".',
    )


def unknown_type(unknown: Unknown) -> Problem:
    """Return the problem that rows wait whose object type isn't registered; a notice while it is new."""
    name, verb = unknown.object_type, "waits" if unknown.rows == 1 else "wait"
    return Problem(
        check="types",
        what=f"{notifications(unknown.rows)} of the object type {name!r} {verb}, the oldest for "
        f"{age(unknown.seconds)}: the type is not registered here.",
        why="Only a process that knows the type can render them, and no process deletes them.",
        cure="Deploy the code that registers it. If it was removed for good, run "
        f"`manage.py pillarbox prune --object-type {name}`.",
        state=State.DEGRADED if unknown.seconds > LATE_SECONDS else State.OK,
    )


def failed(backlog: Backlog) -> Problem:
    """Return the problem that rows failed; a notice if all of them did more than a day ago."""
    lately, earlier = backlog.failed_lately, backlog.unreplayed - backlog.failed_lately
    before = f", and {number(earlier)} earlier" if earlier else ""
    when = f"in the last 24 hours{before}" if lately else "more than a day ago"
    return Problem(
        check="failed-rows",
        what=f"{notifications(lately or earlier)} failed {when}, not replayed yet.",
        why="Subscribers did not receive them, only that they were skipped.",
        cure="See their causes in the admin, under Notifications. Mend these, then replay the rows "
        "there, or by `manage.py pillarbox replay`.",
        state=State.DEGRADED if lately else State.OK,
    )


def waiting(backlog: Backlog) -> str:
    """Return a clause: how many notifications wait, and for how long the oldest."""
    verb = "waits" if backlog.pending == 1 else "wait"
    more = " or more" if backlog.is_more else ""
    # The lag first: rows that wait for another attempt may be much older than the others.
    oldest = age(backlog.lag_seconds or backlog.oldest_seconds or 0.0)
    return f"{notifications(backlog.pending, more)} {verb}, the oldest for {oldest}"


def notifications(rows: int, more: str = "") -> str:
    """Return a number of notifications as words; ``more`` follows the number."""
    return f"{number(rows)}{more} notification{'' if rows == 1 else 's'}"


def _unreachable(what: str, errors: Mapping[str, str]) -> str:
    """Return a clause: which processes can't reach something, and the first one's error."""
    return f"{_named(errors)} can't reach {what} ({next(iter(errors.values()))})"


def _named(names: Collection[str]) -> str:
    """Return the names, of which there is at least one, as words. The last are only counted."""
    first, more = [*names][:MOST_NAMES], len(names) - MOST_NAMES
    return ", ".join(first) + (f" and {number(more)} more" if more > 0 else "")
