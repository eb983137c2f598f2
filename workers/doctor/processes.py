"""The processes, by their own reports; and whether the bell is heard."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import DEFAULT_DB_ALIAS

from apps.outbox.instances import Known, known

from .. import bell
from .findings import Answer, Finding, unless

#: Beat sweeps twice a second, and so some worker drains as often.
SILENT_SECONDS = 20.0
#: A drain that has begun goes on for a second before it looks again.
HEARD_SECONDS = 4.0

COMMANDS = {
    "worker": (
        "Nothing is published: rows wait in the outbox, and sockets read them there.",
        "worker",
    ),
    "beat": ("What no bell was heard for waits, retries too, and nothing is pruned.", "beat"),
    "daphne": ("Nobody can connect a socket.", "daphne"),
}


def live(kind: str) -> Answer:
    """Processes of a kind run, and none has fallen silent."""
    seen = _known(kind)
    alive = [each for each in seen if each.is_alive]
    if not alive:
        return [_nobody(kind, seen)]
    return unless([_silent(each) for each in seen if not each.is_alive], f"{len(alive)} alive")


def workers_publish() -> Answer:
    """Workers reach the channel layer, and have drained lately."""
    alive = _alive("worker")
    findings = [_breaker(each, str(why)) for each in alive if (why := each.facts.get("breaker"))]
    late = _lateness(alive, "drained_at")
    if not findings and late > SILENT_SECONDS:
        findings.append(_idle(late))
    return unless(findings, f"the last drain was {max(late, 0):.0f} seconds ago")


def beat_sweeps() -> Answer:
    """Beat reaches the broker, and has swept lately."""
    alive = _alive("beat")
    findings = [_deaf(each, str(why)) for each in alive if (why := each.facts.get("broker"))]
    late = _lateness(alive, "swept_at")
    if not findings and late > SILENT_SECONDS:
        findings.append(_unswept(late))
    return unless(findings, f"the last sweep was {max(late, 0):.0f} seconds ago")


def sockets_hear() -> Answer:
    """Daphnes hear the channel layer."""
    alive = _alive("daphne")
    findings = [_unheard(each) for each in alive if each.facts.get("layer") == "away"]
    sockets, subscriptions = (
        sum(int(each.facts.get(what) or 0) for each in alive)
        for what in ("sockets", "subscriptions")
    )
    return unless(findings, f"{sockets} sockets with {subscriptions} subscriptions")


def bell_is_heard() -> Answer:
    """When the bell rings a worker comes."""
    start = time.monotonic()
    bell.ring(DEFAULT_DB_ALIAS)
    while time.monotonic() < start + HEARD_SECONDS:
        if not bell.is_ringing():
            return f"a worker came within {(time.monotonic() - start) * 1000:.0f} ms"
        time.sleep(0.005)
    return [
        Finding(
            what=f"The bell rang for {HEARD_SECONDS:g} seconds, and no worker came.",
            why="Notifications wait for the sweep, or for ever.",
            cure="See that the workers have this host's CELERY_BROKER_URL and REDIS_URL, and whether they "
            "are busy with something else.",
            is_grave=True,
        )
    ]


def _known(kind: str) -> list[Known]:
    return [each for each in known(using=DEFAULT_DB_ALIAS) if each.kind == kind]


def _alive(kind: str) -> list[Known]:
    return [each for each in _known(kind) if each.is_alive]


def _lateness(alive: Iterable[Known], fact: str) -> float:
    """Return how many seconds ago the last of them did it; those that never did count since their start."""
    moments = [
        datetime.fromisoformat(str(each.facts[fact])) if each.facts.get(fact) else each.started_at
        for each in alive
    ]
    return (datetime.now(UTC) - max(moments)).total_seconds()


def _nobody(kind: str, seen: list[Known]) -> Finding:
    last = min((each.silent_seconds for each in seen), default=None)
    when = f"; the last was heard of {last:.0f} seconds ago" if last is not None else ""
    why, process = COMMANDS[kind]
    return Finding(
        what=f"No {kind} is alive{when}.",
        why=why,
        cure=f"Start the Procfile's `{process}`; if it was running, its log says how it ended.",
        is_grave=True,
    )


def _silent(each: Known) -> Finding:
    return Finding(
        what=f"{each.name} has been silent for {each.silent_seconds:.0f} seconds.",
        why="It was killed, hangs, or can't reach the database; the others do its work.",
        cure="See its log and its host. If it is meant to be gone, this is forgotten within an hour.",
    )


def _breaker(each: Known, why: str) -> Finding:
    return Finding(
        what=f"{each.name} publishes nothing: {why}",
        why="Rows wait in the outbox; no attempt is counted, and nothing is lost.",
        cure="If Redis and the layer are well above, that host can't reach them: its network, its REDIS_URL.",
        is_grave=True,
    )


def _idle(seconds: float) -> Finding:
    return Finding(
        what=f"No worker has drained for {seconds:.0f} seconds, though some are alive.",
        why="Rows wait in the outbox.",
        cure="See that beat and the workers have the same CELERY_BROKER_URL; if so, start the workers again.",
        is_grave=True,
    )


def _deaf(each: Known, why: str) -> Finding:
    return Finding(
        what=f"{each.name} can't reach the broker: {why}",
        why="Nobody sweeps: what no bell was heard for waits, and nothing is pruned.",
        cure="If the broker is well above, that host can't reach it: its network, its CELERY_BROKER_URL.",
        is_grave=True,
    )


def _unswept(seconds: float) -> Finding:
    return Finding(
        what=f"Beat is alive, and hasn't swept for {seconds:.0f} seconds.",
        why="What no bell was heard for waits, and nothing is pruned.",
        cure="Start beat again; if it hangs once more, its log says where.",
        is_grave=True,
    )


def _unheard(each: Known) -> Finding:
    return Finding(
        what=f"{each.name} does not hear the channel layer.",
        why="Its sockets get their notifications from the database, up to POSITION_CHECK_SECONDS late.",
        cure="If Redis and the layer are well above, that host can't reach them: its network, its REDIS_URL.",
        is_grave=True,
    )
