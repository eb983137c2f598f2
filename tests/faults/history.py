"""The checker: what was committed against what was published, stream by stream."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change, as its writer saw it. If its commit failed, it may have happened, or not."""

    stream: str
    content: str
    at: float
    is_certain: bool = True


@dataclass(frozen=True, kw_only=True)
class Publication:
    """One envelope that the channel layer took."""

    stream: str
    offset: int
    content: str
    at: float


@dataclass(kw_only=True)
class Verdict:
    """What is wrong, each as a sentence; and what is not, in numbers."""

    lost: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    #: Published again at the same offset: at least once is the promise, sockets drop what they had.
    again: int = 0
    changes: int = 0
    worst_lag: float = 0.0

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.foreign or self.reordered or self.contradicted)


def judge(committed: Iterable[Change], published: Iterable[Publication]) -> Verdict:
    """
    Judge a history: changes in the order in which each stream's one writer committed them, publications
    in the order in which the layer took them.
    """
    changes: dict[str, list[Change]] = defaultdict(list)
    publications: dict[str, list[Publication]] = defaultdict(list)
    for change in committed:
        changes[change.stream].append(change)
    for publication in published:
        publications[publication.stream].append(publication)
    verdict = Verdict()
    for stream in changes.keys() | publications.keys():
        _judge_stream(stream, changes[stream], publications[stream], verdict)
    return verdict


def _judge_stream(
    stream: str, changes: list[Change], publications: list[Publication], verdict: Verdict
) -> None:
    firsts: dict[int, Publication] = {}
    for publication in publications:
        offset = publication.offset
        first = firsts.setdefault(offset, publication)
        if first is not publication:
            verdict.again += 1
            if first.content != publication.content:
                verdict.contradicted.append(f"{stream} has two contents at {offset}")
        elif offset < max(firsts):
            verdict.reordered.append(f"{stream} published {offset} after {max(firsts)}")
    holes = set(range(1, max(firsts, default=0) + 1)) - firsts.keys()
    verdict.lost += [f"{stream} never published {offset}" for offset in sorted(holes)]

    in_order = [firsts[offset] for offset in sorted(firsts)]
    known = {change.content: place for place, change in enumerate(changes)}
    found = {publication.content for publication in in_order}
    verdict.foreign += [f"{stream} has {text!r}" for text in sorted(found - known.keys())]
    verdict.lost += [
        f"{stream} lacks {change.content!r}"
        for change in changes
        if change.is_certain and change.content not in found
    ]
    places = [
        known[publication.content] for publication in in_order if publication.content in known
    ]
    if places != sorted(places):
        verdict.reordered.append(f"{stream} has its contents in another order")
    verdict.changes += len(changes)
    lags = [
        publication.at - changes[known[publication.content]].at
        for publication in in_order
        if publication.content in known
    ]
    verdict.worst_lag = max([verdict.worst_lag, *lags])


def read_changes(path: Path) -> list[Change]:
    """Return a writer's record."""
    return [Change(**line) for line in _lines(path)]


def read_publications(path: Path) -> list[Publication]:
    """Return a layer's journal."""
    return [Publication(**line) for line in _lines(path)]


def _lines(path: Path) -> list[dict]:
    if not path.exists():
        return []
    # A line that its process didn't end was not taken.
    whole = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]
