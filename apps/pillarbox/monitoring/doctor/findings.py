"""The dataclasses of the doctor: checks, their findings and their results."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from ..problems import Problem, State


class Severity(IntEnum):
    """The severity of a check's result; higher is worse."""

    OK = 0
    #: Not run, because a check that it needs failed or was skipped.
    SKIPPED = 1
    #: It works, but needs attention: it costs something, or will fail later.
    WARN = 2
    #: Notifications don't arrive, or may get lost.
    FAIL = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A problem that a check has found: what is wrong, why it matters, and what to do."""

    what: str
    why: str
    cure: str
    is_grave: bool = False

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Return the finding of a problem of the diagnosis. It is a warning if it is a notice there."""
        is_grave = problem.state is not State.OK
        return cls(what=problem.what, why=problem.why, cure=problem.cure, is_grave=is_grave)

    @property
    def severity(self) -> Severity:
        """The severity that this finding gives its check."""
        return Severity.FAIL if self.is_grave else Severity.WARN


@dataclass(frozen=True, slots=True)
class Needs:
    """The outcome of a check that can't run, because the check of this name has a finding."""

    check: str


#: A check returns its findings or, if all is well, a short description of what it saw.
Outcome = str | list[Finding]


@dataclass(frozen=True, slots=True)
class Check:
    """A named check of one part of the system."""

    name: str
    run: Callable[[], Outcome | Needs]
    #: Names of checks whose failure this check would only report again.
    needs: Collection[str] = ()
    #: Time limit.
    seconds: float = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The result of one check: its outcome, with its severity and duration."""

    check: str
    severity: Severity
    #: A short description of a sound state, or the reason for skipping the check.
    summary: str = ""
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0


def findings_or(findings: list[Finding], summary: str) -> Outcome:
    """Return the findings or, if there are none, the description of a sound state."""
    return findings or summary
