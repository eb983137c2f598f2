"""The facts that the diagnosis is made from."""

from collections.abc import Sequence
from dataclasses import dataclass

from .backlog import Backlog, backlog
from .minute_counts import Rates, rates
from .process_summary import ProcessSummary, summarise
from .processes import ProcessReport, known


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The backlog, the rates and the processes at one moment."""

    backlog: Backlog
    rates: Rates
    processes: ProcessSummary
    #: The processes that reported in the last hour; those that are gone, too.
    reports: Sequence[ProcessReport] = ()


def facts(*, using: str) -> Facts:
    """Read the facts. It is cheap: it may run each second, even with millions of old rows."""
    reports = known(using=using)
    return Facts(
        backlog=backlog(using=using),
        rates=rates(using=using),
        processes=summarise(reports),
        reports=reports,
    )
