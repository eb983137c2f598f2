"""The checker: what was committed against what each client was shown. It knows nothing of how."""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .history import Committed, Followed, Harmed, Observed, Received, Record

ERRORS = ("lost", "repeated", "reordered", "foreign", "uncommitted")


@dataclass(kw_only=True)
class Verdict:
    """What is wrong, a sentence each; and what is not, in numbers. Times are in seconds."""

    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    #: Shown to who may not see it.
    foreign: list[str] = field(default_factory=list)
    #: Shown, though it was rolled back or never was.
    uncommitted: list[str] = field(default_factory=list)
    clients: int = 0
    changes: int = 0
    #: Of each first delivery: when it was committed, and how old it was when it was shown.
    deliveries: list[tuple[float, float]] = field(default_factory=list)
    #: How old they were, sorted.
    lags: list[float] = field(default_factory=list)
    #: By harm: how long after its end the last of what it held up arrived, each time.
    recoveries: dict[str, list[float]] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """How much is wrong."""
        return sum(len(getattr(self, kind)) for kind in ERRORS)

    def lag(self, part: float) -> float:
        """Return the lag that this part of the deliveries doesn't exceed; 1 gives the worst."""
        return self.lags[max(0, math.ceil(part * len(self.lags)) - 1)] if self.lags else 0.0


def judge(records: Iterable[Record]) -> Verdict:
    """Judge a history. Committed changes stand in it in the order in which each stream's committed."""
    history = list(records)
    committed = [record for record in history if isinstance(record, Committed)]
    places = {change.content: place for place, change in enumerate(committed)}
    received: dict[tuple[str, str], list[Received]] = defaultdict(list)
    for record in history:
        if isinstance(record, Received):
            received[record.client, record.stream].append(record)
    followed = {
        (record.client, record.stream): record
        for record in reversed(history)  # where there are several, the first counts
        if isinstance(record, Followed)
    }
    verdict = Verdict(changes=len(committed), clients=len({client for client, _ in followed}))
    on_time: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for key in sorted(followed.keys() | received.keys()):
        one = _Following(key, followed.get(key), committed, places, verdict)
        one.judge(received.get(key, ()))
        on_time[key[0]] += one.deliveries
    verdict.lags = sorted(lag for _, lag in verdict.deliveries)
    for record in history:
        if isinstance(record, Observed):
            found = {kind: getattr(verdict, kind) for kind in ERRORS}[record.error]
            found += [f"{record.client} {record.what}"] * record.times
    _judge_recoveries([h for h in history if isinstance(h, Harmed)], on_time, verdict)
    return verdict


class _Following:
    """One client's interest in one stream."""

    def __init__(
        self,
        key: tuple[str, str],
        followed: Followed | None,
        committed: Sequence[Committed],
        places: dict[str, int],
        verdict: Verdict,
    ) -> None:
        self.name = f"{key[0]}, {key[1]}"
        self.stream, self.followed = key[1], followed
        self.committed, self.places, self.verdict = committed, places, verdict
        #: When each change that was shown was committed, and when it was shown first.
        self.deliveries: list[tuple[float, float]] = []

    def judge(self, received: Iterable[Received]) -> None:
        seen: set[str] = set()
        last = -1
        for one in received:
            place = self.places.get(one.content)
            if place is None:
                self.verdict.uncommitted.append(f"{self.name}: {one.content}")
            elif not self._may_see(self.committed[place]):
                self.verdict.foreign.append(f"{self.name}: {one.content}")
            elif one.content in seen:
                self.verdict.repeated.append(f"{self.name}: {one.content}")
            else:
                if place < last:
                    self.verdict.reordered.append(f"{self.name}: {one.content}")
                last = max(place, last)
                seen.add(one.content)
                self.deliveries.append((self.committed[place].at, one.at))
        self.verdict.deliveries += [(at, max(0.0, shown - at)) for at, shown in self.deliveries]
        self.verdict.lost += [
            f"{self.name}: {change.content}"
            for change in self.committed
            if self._must_see(change) and change.content not in seen
        ]

    def _may_see(self, change: Committed) -> bool:
        known = self.followed is not None and self.followed.is_allowed
        return known and self.stream in change.streams

    def _must_see(self, change: Committed) -> bool:
        return self._may_see(change) and self.followed is not None and change.at > self.followed.at


def _judge_recoveries(
    harms: Iterable[Harmed], deliveries: dict[str, list[tuple[float, float]]], verdict: Verdict
) -> None:
    """A harm is over when the last of what was committed before its end has arrived."""
    for pairs in deliveries.values():
        pairs.sort()
    for harm in harms:
        concerned = [deliveries.get(harm.client, [])] if harm.client else [*deliveries.values()]
        last = harm.until
        for pairs in concerned:
            end = bisect_left(pairs, (harm.until,))
            last = max([last, *(shown for _, shown in pairs[:end])])
        verdict.recoveries.setdefault(harm.harm, []).append(last - harm.until)
