"""The checks that show the diagnosis: each has the problems of its name, as on the dashboard."""

from collections.abc import Callable
from dataclasses import replace

from django.db import DEFAULT_DB_ALIAS

from ...formats import age, number
from ..causes import causes
from ..diagnosis import diagnose
from ..facts import Facts
from ..problems import waiting
from .findings import Finding, Outcome, findings_or

#: Number of failure causes that are named.
MOST_CAUSES = 3
#: Name → the description of a sound state.
SOUND: dict[str, Callable[[Facts], str]] = {
    "workers": lambda seen: f"{seen.processes.workers} alive",
    "beat": lambda seen: f"{seen.processes.beats} alive",
    "daphne": lambda seen: f"{seen.processes.daphnes} alive",
    "sweep": lambda seen: f"the last sweep was {age(seen.processes.swept_seconds)} ago",
    "relay": lambda seen: f"the last drain was {age(seen.processes.drained_seconds)} ago",
    "sockets": lambda seen: (
        f"{number(seen.processes.sockets)} sockets with"
        f" {number(seen.processes.subscriptions)} subscriptions"
    ),
    "backlog": lambda seen: (
        waiting(seen.backlog) if seen.backlog.pending else "no notification waits"
    ),
    "types": lambda _: "all rows are of registered types",
    "failed-rows": lambda seen: (
        f"none ({number(seen.backlog.failed)} were replayed)" if seen.backlog.failed else "none"
    ),
}


def diagnosed(check: str, facts: Callable[[], Facts]) -> Callable[[], Outcome]:
    """Return the check that finds the diagnosis's problems of its name."""

    def look() -> Outcome:
        seen = facts()
        findings = [Finding.of(each) for each in diagnose(seen).problems if each.check == check]
        return findings_or(findings, SOUND[check](seen))

    return look


def failed_rows(facts: Callable[[], Facts]) -> Outcome:
    """Check that every failed row has been replayed, and name the causes of the others."""
    outcome = diagnosed("failed-rows", facts)()
    if isinstance(outcome, str):
        return outcome
    named = [
        f"{number(cause.unreplayed)} of {cause.error_type} since {cause.first_at:%Y-%m-%d}"
        for cause in causes(using=DEFAULT_DB_ALIAS, most=MOST_CAUSES)
        if cause.unreplayed
    ]
    return [replace(finding, what=f"{finding.what} {', '.join(named)}.") for finding in outcome]
