"""Whether notifications flow: the bell is heard, beat sweeps, workers publish, sockets hear."""

import time

from django.db import DEFAULT_DB_ALIAS

from apps.outbox.health import SILENT_SECONDS
from apps.outbox.instances import Known
from apps.outbox.running import running

from .. import bell
from .findings import Answer, Finding, unless
from .processes import alive, sweepers

#: A drain that has begun goes on for a second before it looks again.
HEARD_SECONDS = 4.0


def workers_publish() -> Answer:
    """Workers reach the channel layer, and have drained lately."""
    workers = alive("worker")
    findings = [_breaker(each, str(why)) for each in workers if (why := each.facts.get("breaker"))]
    late = running(workers).drained_seconds
    if not findings and late > SILENT_SECONDS:
        findings.append(_idle(late))
    return unless(findings, f"the last drain was {late:.0f} seconds ago")


def beat_sweeps() -> Answer:
    """Beat reaches the broker, and has swept lately."""
    sweeping = sweepers()
    findings = [_deaf(each, str(why)) for each in sweeping if (why := each.facts.get("broker"))]
    late = running(sweeping).swept_seconds
    if not findings and late > SILENT_SECONDS:
        findings.append(_unswept(late))
    return unless(findings, f"the last sweep was {late:.0f} seconds ago")


def sockets_hear() -> Answer:
    """Daphnes hear the channel layer."""
    daphnes = alive("daphne")
    findings = [_unheard(each) for each in daphnes if each.facts.get("layer") == "away"]
    together = running(daphnes)
    seen = f"{together.sockets} sockets with {together.subscriptions} subscriptions"
    return unless(findings, seen)


def bell_is_heard() -> Answer:
    """When the bell rings a worker comes."""
    if all("swept_at" in each.facts for each in alive("worker")):
        return "nobody listens to it: workers sweep by themselves"
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
