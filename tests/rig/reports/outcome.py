"""The outcome of a run, and what keeps it from being a proof."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..checker import ERRORS, Result
from ..history import Broken, Record
from ..scenarios import Scenario


@dataclass(kw_only=True)
class Outcome:
    """The outcome of a run."""

    scenario: Scenario
    pattern: str
    begun: float
    history: list[Record]
    result: Result
    #: Changes that failed, though the database was there.
    failed: int
    #: For each client: what it was sent, and transactions of the database, where they could be counted.
    kilobytes: float
    transactions: float | None

    @property
    def is_clean(self) -> bool:
        """Whether all that the scenario has happened, and there are no errors."""
        return not self.wrong

    @property
    def wrong(self) -> list[str]:
        """What keeps it from being a proof, a few words each: what is missing, and errors."""
        return [*self._missing(), *self._errors()]

    def _missing(self) -> Iterator[str]:
        faults = [record for record in self.history if isinstance(record, Broken)]
        if not self.result.changes:
            yield "nothing was committed"
        elif not self.result.lags:
            yield "nothing was shown"
        if self.scenario.faults and all(fault.client for fault in faults):
            yield "nothing was broken"
        if self.scenario.cut_every is not None and not any(fault.client for fault in faults):
            yield "no client was cut off"

    def _errors(self) -> Iterator[str]:
        for kind in ERRORS:
            if count := len(getattr(self.result, kind)):
                yield f"{count} {kind}"
        if self.failed:
            yield f"{self.failed} saves failed"
        if (worst := self.result.lag(1)) > self.scenario.worst_lag:
            yield f"a notification took {worst:.1f} s, more than {self.scenario.worst_lag:g}"
