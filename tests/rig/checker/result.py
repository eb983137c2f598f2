"""The result of a check."""

import math
from dataclasses import dataclass, field

#: The kinds of error that deliveries can have, and all kinds.
SHOWN = ("lost", "repeated", "reordered", "foreign", "uncommitted")
ERRORS = (*SHOWN, "contradicted")


@dataclass(kw_only=True)
class Result:
    """The errors, one sentence each, and the figures of a run. Times are in seconds."""

    #: Committed but not published, or not shown to a client that follows the stream.
    lost: list[str] = field(default_factory=list)
    #: Shown twice to a client. Publishing twice is no error, since rows are published at least once.
    repeated: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    #: Shown to a client that may not see it.
    foreign: list[str] = field(default_factory=list)
    #: Published or shown although it was rolled back or never written.
    uncommitted: list[str] = field(default_factory=list)
    #: Published with two contents at one offset.
    contradicted: list[str] = field(default_factory=list)
    clients: int = 0
    changes: int = 0
    #: Rows that subscribers see as skipped because their object was gone or had moved before rendering.
    obsolete: int = 0
    #: The number of repeated publications.
    again: int = 0
    #: The longest time from a commit to its publication.
    worst_publication: float = 0.0
    #: For each first delivery: the time of the commit, and the lag.
    deliveries: list[tuple[float, float]] = field(default_factory=list)
    #: The lags of first deliveries, sorted.
    lags: list[float] = field(default_factory=list)
    #: By name of fault, for each time it was caused: the seconds from its end to the last delayed delivery.
    recoveries: dict[str, list[float]] = field(default_factory=dict)

    @property
    def errors(self) -> list[str]:
        """All errors, each as its kind and a sentence."""
        return [f"{kind}: {each}" for kind in ERRORS for each in getattr(self, kind)]

    def lag(self, part: float) -> float:
        """Return the lag that this fraction of deliveries doesn't exceed: 0.5 is the median, 1 the worst."""
        return self.lags[max(0, math.ceil(part * len(self.lags)) - 1)] if self.lags else 0.0
