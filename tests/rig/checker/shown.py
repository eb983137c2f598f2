"""The check of deliveries against the committed changes, by client and stream."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ..history import Committed, Followed, Observed, Received, Record
from .published import Skipped
from .result import SHOWN, Result

#: By client, for each first delivery: the time of the commit, and of the delivery.
Deliveries = dict[str, list[tuple[float, float]]]


def check_shown(
    history: Sequence[Record], committed: Sequence[Committed], skipped: Skipped, result: Result
) -> Deliveries:
    """
    Add errors of deliveries to a result. Return the first deliveries, by client.

    A client need not be shown changes that are ``skipped``.
    """
    received: dict[tuple[str, str], list[Received]] = defaultdict(list)
    for record in history:
        if isinstance(record, Received):
            received[record.client, record.stream].append(record)
    followed = {
        (record.client, record.stream): record
        for record in reversed(history)  # the first record of each client and stream wins
        if isinstance(record, Followed)
    }
    result.clients = len({client for client, _ in followed})
    deliveries: Deliveries = defaultdict(list)
    for key in sorted(followed.keys() | received.keys()):
        one = _Following(key, followed.get(key), committed, result)
        one.skipped = {content for stream, content in skipped if stream == key[1]}
        one.check(received.get(key, ()))
        deliveries[key[0]] += one.deliveries
    result.lags = sorted(lag for _, lag in result.deliveries)
    for record in history:
        if isinstance(record, Observed):
            found = {kind: getattr(result, kind) for kind in SHOWN}[record.error]
            found += [f"{record.client} {record.what}"] * record.times
    return deliveries


class _Following:
    """The check of one client's deliveries from one stream."""

    def __init__(
        self,
        key: tuple[str, str],
        followed: Followed | None,
        committed: Sequence[Committed],
        result: Result,
    ) -> None:
        self.client = key[0]
        self.name = f"{key[0]}, {key[1]}"
        self.followed, self.committed, self.result = followed, committed, result
        self.changes = [change for change in committed if key[1] in change.streams]
        self.places = {change.content: place for place, change in enumerate(self.changes)}
        #: Contents that the client need not be shown.
        self.skipped: set[str] = set()
        #: For each change that was shown: the time of the commit, and of the first delivery.
        self.deliveries: list[tuple[float, float]] = []

    def check(self, received: Iterable[Received]) -> None:
        """Check the deliveries, and add errors and lags to the result."""
        seen: set[str] = set()
        last = -1
        for one in received:
            place = self.places.get(one.content)
            if place is None or not self._is_allowed:
                kind = self._wrong_kind(one.content)
                getattr(self.result, kind).append(f"{self.name}: {one.content}")
            elif self.client in self.changes[place].hidden_from:
                self.result.foreign.append(f"{self.name}: {one.content}")
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
            if self._must_see(change) and change.content not in seen | self.skipped
        ]

    @property
    def _is_allowed(self) -> bool:
        return self.followed is not None and self.followed.is_allowed

    def _wrong_kind(self, content: str) -> str:
        """Return the kind of error: content of another stream is foreign, anything else uncommitted."""
        is_known = any(change.content == content for change in self.committed)
        return "foreign" if is_known else "uncommitted"

    def _must_see(self, change: Committed) -> bool:
        if self.followed is None or self.followed.is_guest:
            return False
        return self._is_allowed and change.at > self.followed.at
