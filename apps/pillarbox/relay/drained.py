"""The counts of a drain."""

from dataclasses import dataclass
from typing import Any, Self

from ..stream.attempts import Recorded
from ..stream.rendering.batches.settling import Settled


@dataclass(kw_only=True, slots=True)
class Drained:
    """The result of one drain: counts of rows, and whether it ended because its time was over."""

    numbered: int = 0
    published: int = 0
    retried: int = 0
    failed: int = 0
    is_cut_short: bool = False

    def add(self, other: Self) -> None:
        """Add the published, retried and failed rows of a batch that was published."""
        self.published += other.published
        self.retried += other.retried
        self.failed += other.failed

    def add_settled(self, settled: Settled[Any]) -> None:
        """Add the counts of a batch that was rendered."""
        self.numbered += settled.numbered
        self.add_failures(settled.failures)

    def add_failures(self, failures: Recorded) -> None:
        """Add the counts of failed attempts."""
        self.retried += failures.retried
        self.failed += failures.failed
