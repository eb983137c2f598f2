"""What was committed against what each client was shown, stream by stream."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ..history import Committed, Followed, Observed, Received, Record
from .result import SHOWN, Result

#: Of each first delivery to a client: when it was committed, and when it was shown.
Deliveries = dict[str, list[tuple[float, float]]]


def judge_shown(
    history: Sequence[Record], committed: Sequence[Committed], result: Result
) -> Deliveries:
    """Add the errors of deliveries to a result. Return the first deliveries, by client."""
    received: dict[tuple[str, str], list[Received]] = defaultdict(list)
    for record in history:
        if isinstance(record, Received):
            received[record.client, record.stream].append(record)
    followed = {
        (record.client, record.stream): record
        for record in reversed(history)  # where there are several, the first counts
        if isinstance(record, Followed)
    }
    result.clients = len({client for client, _ in followed})
    deliveries: Deliveries = defaultdict(list)
    for key in sorted(followed.keys() | received.keys()):
        one = _Following(key, followed.get(key), committed, result)
        one.judge(received.get(key, ()))
        deliveries[key[0]] += one.deliveries
    result.lags = sorted(lag for _, lag in result.deliveries)
    for record in history:
        if isinstance(record, Observed):
            found = {kind: getattr(result, kind) for kind in SHOWN}[record.error]
            found += [f"{record.client} {record.what}"] * record.times
    return deliveries


class _Following:
    """One client's interest in one stream."""

    def __init__(
        self,
        key: tuple[str, str],
        followed: Followed | None,
        committed: Sequence[Committed],
        result: Result,
    ) -> None:
        self.name = f"{key[0]}, {key[1]}"
        self.followed, self.committed, self.result = followed, committed, result
        self.changes = [change for change in committed if key[1] in change.streams]
        self.places = {change.content: place for place, change in enumerate(self.changes)}
        #: When each change that was shown was committed, and when it was shown first.
        self.deliveries: list[tuple[float, float]] = []

    def judge(self, received: Iterable[Received]) -> None:
        """Add the errors to the result."""
        seen: set[str] = set()
        last = -1
        for one in received:
            place = self.places.get(one.content)
            if place is None or not self._is_allowed:
                kind = self._wrong_kind(one.content)
                getattr(self.result, kind).append(f"{self.name}: {one.content}")
            elif one.content in seen:
                self.result.repeated.append(f"{self.name}: {one.content}")
            else:
                if place < last:
                    self.result.reordered.append(f"{self.name}: {one.content}")
                last = max(place, last)
                seen.add(one.content)
                self.deliveries.append((self.changes[place].at, one.at))
        self.result.deliveries += [(at, max(0.0, shown - at)) for at, shown in self.deliveries]
        self.result.lost += [
            f"{self.name}: {change.content}"
            for change in self.changes
            if self._must_see(change) and change.content not in seen
        ]

    @property
    def _is_allowed(self) -> bool:
        return self.followed is not None and self.followed.is_allowed

    def _wrong_kind(self, content: str) -> str:
        """Return the error: another stream's content, or one that was never committed."""
        is_known = any(change.content == content for change in self.committed)
        return "foreign" if is_known else "uncommitted"

    def _must_see(self, change: Committed) -> bool:
        return self.followed is not None and self._is_allowed and change.at > self.followed.at
