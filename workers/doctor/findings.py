"""What a check says, and what became of it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import IntEnum


class Verdict(IntEnum):
    """How it stands with what a check looked at; the higher, the worse."""

    OK = 0
    #: Not looked at, because something that it needs is failing.
    SKIPPED = 1
    #: It works, and somebody should look: it costs something, or won't go well for ever.
    WARN = 2
    #: Notifications don't arrive, or may get lost.
    FAIL = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What is wrong, why it matters, and what to do: a sentence or two each."""

    what: str
    why: str
    cure: str
    is_grave: bool = False

    @property
    def verdict(self) -> Verdict:
        """What it makes of its check."""
        return Verdict.FAIL if self.is_grave else Verdict.WARN


#: A check returns what it found; or, if all is well, what it saw, in a few words.
Answer = str | list[Finding]


@dataclass(frozen=True, slots=True)
class Check:
    """A look at one part of the system."""

    name: str
    look: Callable[[], Answer]
    #: Names of checks without which this one would only repeat what they found.
    needs: Collection[str] = ()
    #: How long it may take.
    seconds: float = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of a check."""

    check: str
    verdict: Verdict
    #: What was seen, in a few words, if nothing was found.
    seen: str = ""
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0


def unless(findings: list[Finding], seen: str) -> Answer:
    """Return the findings; if there are none, what was seen."""
    return findings or seen
