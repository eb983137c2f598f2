"""Eligibility of rows for a replay: whether and with which event, assessed by batch in a few statements."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..types.announcers import Announcer
from .candidates import Candidate
from .current_objects import announcers_by_type, current_objects, key_of
from .later_rows import moved_since, newer

SUPERSEDED = "A newer row of the same object exists, or the row was sent again since."
ABSENT = "The object isn't in that stream any more."
PRESENT = "The object is in that stream, so its deletion can't be announced."
MOVED = "The object moved since, so its present readers may not see the recorded state."
OLD = "Older than the retention, so it is unknown whether the object moved since."
NOTHING = (
    "Nothing is recorded: the object was gone when the row was rendered, or the row was erased."
)
STATELESS = "It announces no change of a registered object, so there is no present state."


@dataclass(frozen=True, kw_only=True, slots=True)
class Eligibility:
    """Whether a candidate is announced again: with which event, or why not."""

    pk: int
    #: The event for the object's present state; None to announce the row as recorded.
    event: str | None = None
    #: Why the row is not announced; empty if it is.
    reason: str = ""


def assess(
    batch: Sequence[Candidate],
    *,
    is_current: bool,
    with_superseded: bool,
    using: str,
    is_trial: bool = False,
) -> list[Eligibility]:
    """
    Assess the candidates in the caller's transaction; return the results in the same order.

    Unless it is a trial, their objects stay locked until the transaction ends, so that changes of them come
    before or after the replay. For an object that is deleted or has left the stream, only its deletion can
    be announced. A state recorded before a move is not announced to the object's present readers.
    """
    known = announcers_by_type()
    existing = current_objects(batch, known, is_trial, using)
    superseded = set() if with_superseded else newer(batch, using=using)
    moved = {} if is_current else _moved(batch, known, existing, using)
    found = []
    for candidate in batch:
        announcer = known.get(candidate.object_type)
        row = existing.get((candidate.object_type, candidate.object_id))
        if candidate.pk in superseded:
            found.append(Eligibility(pk=candidate.pk, reason=SUPERSEDED))
        elif is_current:
            found.append(_as_is(candidate, announcer, row))
        else:
            found.append(_as_recorded(candidate, announcer, row, moved))
    return found


def _as_recorded(
    candidate: Candidate, announcer: Announcer | None, row: Any, moved: Mapping[int, str]
) -> Eligibility:
    if candidate.is_obsolete:
        return Eligibility(pk=candidate.pk, reason=NOTHING)
    reason = moved.get(candidate.pk, "")
    if announcer is not None and candidate.event in _changes(announcer):
        is_there = row is not None and candidate.stream in announcer.streams(row)
        if candidate.event == announcer.event("DELETE"):
            # The payload of a deletion shows only the id, so moves don't matter.
            reason = PRESENT if is_there else ""
        elif not is_there:
            reason = ABSENT
    return Eligibility(pk=candidate.pk, reason=reason)


def _as_is(candidate: Candidate, announcer: Announcer | None, row: Any) -> Eligibility:
    """Return the event for the object's present state: a deletion if it isn't in the stream."""
    if (
        announcer is None
        or candidate.event not in (changes := _changes(announcer))
        or key_of(announcer.model, candidate.object_id) is None
    ):
        return Eligibility(pk=candidate.pk, reason=STATELESS)
    verb = "DELETE"
    if row is not None and candidate.stream in announcer.streams(row):
        verb = "UPDATE" if changes[candidate.event] == "UPDATE" else "CREATE"
    return Eligibility(pk=candidate.pk, event=announcer.event(verb))


def _changes(announcer: Announcer) -> dict[str, str]:
    """Return the verb of each event that announces changes of the announcer's objects."""
    return {announcer.event(verb): verb for verb in ("CREATE", "UPDATE", "DELETE")}


def _moved(
    batch: Iterable[Candidate],
    known: Mapping[str, Announcer],
    existing: Mapping[tuple[str, str], Any],
    using: str,
) -> dict[int, str]:
    """Return why recorded states may not be visible to present readers: MOVED or OLD, by primary key."""
    asked, reasons = [], {}
    for candidate in batch:
        announcer = known.get(candidate.object_type)
        row = existing.get((candidate.object_type, candidate.object_id))
        streams = (
            [candidate.stream] if announcer is None else announcer.guards(candidate.stream, row)
        )
        asked += [(candidate.pk, candidate.original, stream) for stream in streams]
        if announcer is not None and streams and candidate.is_old:
            reasons[candidate.pk] = OLD
    return reasons | dict.fromkeys(moved_since(asked, using=using), MOVED)
