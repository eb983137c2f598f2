"""What the processes say of themselves, taken together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .instances import Known


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """What the processes say that are alive. What they have not done yet has not been done since they run."""

    workers: int = 0
    #: Since one of them drained as it should, in seconds; so with the sweep.
    drained_seconds: float = 0.0
    #: Why a worker does not reach the channel layer, if one doesn't.
    breaker: str | None = None

    beats: int = 0
    swept_seconds: float = 0.0
    #: Why beat does not reach the broker, if it doesn't.
    broker: str | None = None

    daphnes: int = 0
    #: Those of them that do not hear their channel layer.
    deaf: int = 0
    sockets: int = 0
    subscriptions: int = 0


def running(instances: Iterable[Known]) -> Running:
    """Return what those say that are alive. What they are is seen by what they say, whatever their kind."""
    alive = [each for each in instances if each.is_alive]
    workers = [each for each in alive if "drained_at" in each.facts]
    beats = [each for each in alive if "swept_at" in each.facts]
    daphnes = [each for each in alive if "sockets" in each.facts]
    return Running(
        workers=len(workers),
        drained_seconds=min((_since(each, "drained_at") for each in workers), default=0.0),
        breaker=_first(workers, "breaker"),
        beats=len(beats),
        swept_seconds=min((_since(each, "swept_at") for each in beats), default=0.0),
        broker=_first(beats, "broker"),
        daphnes=len(daphnes),
        deaf=sum(each.facts.get("layer") == "away" for each in daphnes),
        sockets=sum(each.facts["sockets"] for each in daphnes),
        subscriptions=sum(each.facts.get("subscriptions", 0) for each in daphnes),
    )


def _since(instance: Known, fact: str) -> float:
    """
    Return for how many seconds something has not been done; since the start, if it has never been.

    By the clock of who says it, and then by the database's: clocks may differ.
    """
    said_at = _moment(instance.facts, "at")
    done_at = _moment(instance.facts, fact) or _moment(instance.facts, "since")
    if said_at is None or done_at is None:
        return instance.silent_seconds
    return instance.silent_seconds + (said_at - done_at).total_seconds()


def _moment(facts: Mapping[str, Any], fact: str) -> datetime | None:
    text = facts.get(fact)
    return None if text is None else datetime.fromisoformat(text)


def _first(instances: Iterable[Known], fact: str) -> str | None:
    return next((each.facts[fact] for each in instances if each.facts.get(fact)), None)
