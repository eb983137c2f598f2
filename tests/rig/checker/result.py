"""The result of a judgement."""

import math
from dataclasses import dataclass, field

#: Errors of what clients were shown, and all of them.
SHOWN = ("lost", "repeated", "reordered", "foreign", "uncommitted")
ERRORS = (*SHOWN, "contradicted")


@dataclass(kw_only=True)
class Result:
    """The errors, a sentence each, and the figures. Times are in seconds."""

    #: Committed, and not published, or not shown to a client that follows.
    lost: list[str] = field(default_factory=list)
    #: Shown twice to a client. Publishing twice is no error: at least once is the promise there.
    repeated: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    #: Shown to a client that may not see it.
    foreign: list[str] = field(default_factory=list)
    #: Published or shown, though it was rolled back or never written.
    uncommitted: list[str] = field(default_factory=list)
    #: Published with two contents at one offset.
    contradicted: list[str] = field(default_factory=list)
    clients: int = 0
    changes: int = 0
    #: How often an offset was published again.
    again: int = 0
    #: The longest time from a commit to its publication.
    worst_publication: float = 0.0
    #: Of each first delivery: when it was committed, and how old it was when it was shown.
    deliveries: list[tuple[float, float]] = field(default_factory=list)
    #: The ages of first deliveries, sorted.
    lags: list[float] = field(default_factory=list)
    #: By fault: how long after its end the last delivery that it held up arrived, each time.
    recoveries: dict[str, list[float]] = field(default_factory=dict)

    @property
    def errors(self) -> list[str]:
        """All errors."""
        return [f"{kind}: {each}" for kind in ERRORS for each in getattr(self, kind)]

    def lag(self, part: float) -> float:
        """Return the lag that this part of the deliveries doesn't exceed; 1 gives the worst."""
        return self.lags[max(0, math.ceil(part * len(self.lags)) - 1)] if self.lags else 0.0
