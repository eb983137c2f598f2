"""What was committed against what the channel layer took, stream by stream."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ..history import Committed, Published
from .result import Result


def judge_published(
    committed: Iterable[Committed], published: Iterable[Published], result: Result
) -> None:
    """Add the errors of publications to a result."""
    changes: dict[str, list[Committed]] = defaultdict(list)
    publications: dict[str, list[Published]] = defaultdict(list)
    for change in committed:
        for stream in change.streams:
            changes[stream].append(change)
    for publication in published:
        publications[publication.stream].append(publication)
    for stream in sorted(changes.keys() | publications.keys()):
        firsts = _judge_offsets(stream, publications[stream], result)
        _judge_contents(stream, changes[stream], firsts, result)


def _judge_offsets(
    stream: str, publications: Iterable[Published], result: Result
) -> list[Published]:
    """Return the first publication of each offset, by offset."""
    firsts: dict[int, Published] = {}
    for publication in publications:
        offset = publication.offset
        first = firsts.setdefault(offset, publication)
        if first is not publication:
            result.again += 1
            if first.content != publication.content:
                result.contradicted.append(f"{stream} has two contents at {offset}")
        elif offset < max(firsts):
            result.reordered.append(f"{stream} published {offset} after {max(firsts)}")
    expected = range(min(firsts, default=0), max(firsts, default=0))
    result.lost += [f"{stream} never published {n}" for n in expected if n not in firsts]
    return [firsts[offset] for offset in sorted(firsts)]


def _judge_contents(
    stream: str, changes: Sequence[Committed], firsts: Sequence[Published], result: Result
) -> None:
    places = {change.content: place for place, change in enumerate(changes)}
    found = {publication.content for publication in firsts}
    result.lost += [
        f"{stream} lacks {text!r}" for text in (c.content for c in changes) if text not in found
    ]
    result.uncommitted += [f"{stream} has {text!r}" for text in sorted(found - places.keys())]
    known = [publication for publication in firsts if publication.content in places]
    in_order = [places[publication.content] for publication in known]
    if in_order != sorted(in_order):
        result.reordered.append(f"{stream} has its contents in another order")
    lags = [one.at - changes[places[one.content]].at for one in known]
    result.worst_publication = max([result.worst_publication, *lags])
