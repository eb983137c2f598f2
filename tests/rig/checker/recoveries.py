"""The recoveries: how long after the end of each fault the deliveries it delayed were complete."""

from bisect import bisect_left
from collections.abc import Iterable

from ..history import Broken, Record
from .result import Result
from .shown import Deliveries


def check_recoveries(history: Iterable[Record], deliveries: Deliveries, result: Result) -> None:
    """Add recoveries to a result. A fault may delay any change committed before its end."""
    for pairs in deliveries.values():
        pairs.sort()
    for fault in history:
        if isinstance(fault, Broken):
            concerned = [deliveries.get(fault.client, [])] if fault.client else deliveries.values()
            shown = [at for pairs in concerned for at in _before(fault.until, pairs)]
            last = max([fault.until, *shown])
            result.recoveries.setdefault(fault.fault, []).append(last - fault.until)


def _before(end: float, pairs: list[tuple[float, float]]) -> list[float]:
    """Return the delivery times of the changes committed before a moment."""
    return [shown for _, shown in pairs[: bisect_left(pairs, (end,))]]
