"""The reports of all live processes, summed up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .processes import ProcessReport


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSummary:
    """The facts of all live processes. The time since an act that never happened counts from the start."""

    workers: int = 0
    #: Seconds since a worker's last successful drain.
    drained_seconds: float = 0.0
    #: The workers that can't reach the channel layer, by name, with the reasons.
    breakers: Mapping[str, str] = field(default_factory=dict)

    beats: int = 0
    #: Seconds since beat's last sweep.
    swept_seconds: float = 0.0
    #: The beat processes that can't reach the broker, by name, with the reasons.
    brokers: Mapping[str, str] = field(default_factory=dict)

    daphnes: int = 0
    #: The names of the Daphne processes that can't reach the channel layer.
    without_layer: tuple[str, ...] = ()
    sockets: int = 0
    subscriptions: int = 0


def summarise(processes: Iterable[ProcessReport]) -> ProcessSummary:
    """Sum up the live processes. A process's role is inferred from the facts it reports, not its kind."""
    alive = [each for each in processes if each.is_alive]
    workers = [each for each in alive if "drained_at" in each.facts]
    beats = [each for each in alive if "swept_at" in each.facts]
    daphnes = [each for each in alive if "sockets" in each.facts]
    return ProcessSummary(
        workers=len(workers),
        drained_seconds=min((_seconds_since(each, "drained_at") for each in workers), default=0.0),
        breakers=_reasons(workers, "breaker"),
        beats=len(beats),
        swept_seconds=min((_seconds_since(each, "swept_at") for each in beats), default=0.0),
        brokers=_reasons(beats, "broker"),
        daphnes=len(daphnes),
        without_layer=tuple(each.name for each in daphnes if each.facts.get("layer") == "away"),
        sockets=sum(each.facts["sockets"] for each in daphnes),
        subscriptions=sum(each.facts.get("subscriptions", 0) for each in daphnes),
    )


def _seconds_since(process: ProcessReport, fact: str) -> float:
    """
    Return the seconds since a process did something, or since its start if it never did.

    Until its last report they are counted by its own clock, from then on by the database's, because
    clocks may differ.
    """
    reported_at = _time(process.facts, "at")
    done_at = _time(process.facts, fact) or _time(process.facts, "since")
    if reported_at is None or done_at is None:
        return process.silent_seconds
    return process.silent_seconds + (reported_at - done_at).total_seconds()


def _time(facts: Mapping[str, Any], fact: str) -> datetime | None:
    text = facts.get(fact)
    return None if text is None else datetime.fromisoformat(text)


def _reasons(processes: Iterable[ProcessReport], fact: str) -> dict[str, str]:
    return {each.name: each.facts[fact] for each in processes if each.facts.get(fact)}
