"""The check of publications against the committed changes, stream by stream."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from ..history import Committed, Published
from .result import Result

#: The changes that subscribers see as skipped: pairs of stream and content.
Skipped = Collection[tuple[str, str]]


def check_published(
    committed: Iterable[Committed], published: Iterable[Published], result: Result
) -> Skipped:
    """Add errors of publications to a result. Return the changes that clients see as skipped."""
    changes: dict[str, list[Committed]] = defaultdict(list)
    publications: dict[str, list[Published]] = defaultdict(list)
    for change in committed:
        for stream in change.streams:
            changes[stream].append(change)
    for publication in published:
        publications[publication.stream].append(publication)
    skipped: set[tuple[str, str]] = set()
    for stream in sorted(changes.keys() | publications.keys()):
        firsts = _check_offsets(stream, publications[stream], result)
        due = [change.content for change in changes[stream]]
        hidden = set(_hidden(due, [publication.content for publication in firsts]))
        _check_contents(stream, changes[stream], firsts, hidden, result)
        skipped |= {(stream, content) for content in hidden}
    return skipped


def _check_offsets(
    stream: str, publications: Iterable[Published], result: Result
) -> list[Published]:
    """Check the offsets. Return the first publication of each offset, in order of offsets."""
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


def _hidden(due: Sequence[str], published: Sequence[str | None]) -> Iterator[str]:
    """Yield the contents that were not published because an obsolete row took their place."""
    places = {content: place for place, content in enumerate(due)}
    shown, place = set(published), 0
    for content in published:
        if content in places:
            place = max(place, places[content] + 1)
        elif content is None and place < len(due) and due[place] not in shown:
            yield due[place]
            place += 1


def _check_contents(
    stream: str,
    changes: Sequence[Committed],
    firsts: Sequence[Published],
    hidden: set[str],
    result: Result,
) -> None:
    places = {change.content: place for place, change in enumerate(changes)}
    found = {publication.content for publication in firsts if publication.content is not None}
    result.obsolete += sum(publication.content is None for publication in firsts)
    result.lost += [
        f"{stream} lacks {change.content!r}"
        for change in changes
        if change.content not in found | hidden
    ]
    result.uncommitted += [f"{stream} has {text!r}" for text in sorted(found - places.keys())]
    known = [
        (places[publication.content], publication.at)
        for publication in firsts
        if publication.content in places
    ]
    in_order = [place for place, _ in known]
    if in_order != sorted(in_order):
        result.reordered.append(f"{stream} has its contents in another order")
    lags = [at - changes[place].at for place, at in known]
    result.worst_publication = max([result.worst_publication, *lags])
