"""The outcome of a run, and the reasons why it may prove nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..checker import ERRORS, Result
from ..history import Broken, Record
from ..scenarios import Scenario


@dataclass(kw_only=True)
class Outcome:
    """The outcome of a run: its history, the checker's result, and costs per client."""

    scenario: Scenario
    pattern: str
    begun: float
    history: list[Record]
    result: Result
    #: Saves that failed although the database was available.
    failed: int
    #: Per client: the kB received, and the database's transactions, or None if they could not be counted.
    kilobytes: float
    transactions: float | None

    @property
    def is_clean(self) -> bool:
        """Whether the scenario's faults happened, and there are no errors."""
        return not self.wrong

    @property
    def wrong(self) -> list[str]:
        """The reasons why the run is no proof, as phrases: missing parts of the scenario, and errors."""
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
