"""What came of a run, and what keeps it from being a proof."""

from collections.abc import Iterator
from dataclasses import dataclass

from .checker import ERRORS, Verdict
from .history import Harmed, Record
from .scenarios import Scenario


@dataclass(kw_only=True)
class Outcome:
    """What came of a run."""

    scenario: Scenario
    pattern: str
    begun: float
    history: list[Record]
    verdict: Verdict
    #: Changes that failed, though the database was there.
    failed: int
    #: For each client: what it was sent, and transactions of the database, where they could be counted.
    kilobytes: float
    transactions: float | None

    @property
    def is_clean(self) -> bool:
        """Whether what was to happen happened, and nothing at all is wrong."""
        return not self.wrong

    @property
    def wrong(self) -> list[str]:
        """What is wrong, or is missing for a run that shows anything; a few words each."""
        return [*self._missing(), *self._errors()]

    def _missing(self) -> Iterator[str]:
        harmed = [record for record in self.history if isinstance(record, Harmed)]
        if not self.verdict.changes:
            yield "nothing was committed"
        elif not self.verdict.lags:
            yield "nothing was shown"
        if self.scenario.harms and all(harm.client for harm in harmed):
            yield "nothing was broken"
        if self.scenario.cut_every is not None and not any(harm.client for harm in harmed):
            yield "nobody was cut off"

    def _errors(self) -> Iterator[str]:
        for kind in ERRORS:
            if count := len(getattr(self.verdict, kind)):
                yield f"{count} {kind}"
        if self.failed:
            yield f"{self.failed} saves failed"
        if (worst := self.verdict.lag(1)) > self.scenario.worst_lag:
            yield f"a notification took {worst:.1f} s, more than {self.scenario.worst_lag:g}"
