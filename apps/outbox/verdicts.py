"""What is announced again for a row, and as what; or why not. Asked of each batch, by a few statements."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import connections, transaction

from .announcers import Announcer, announcers
from .conf import outbox_settings
from .models import NotificationOutbox
from .payload import encode
from .stored import locked, rows

OUTBOX = NotificationOutbox._meta.db_table

SUPERSEDED = "Newer rows of the same object are there, or it was sent again since."
ABSENT = "The object isn't in that stream any more."
PRESENT = "The object is in that stream: to say that it is gone would be wrong."
MOVED = "The object moved since: what was recorded may not be for those who see it now."
OLD = "Older than retention, so that nobody knows whether the object moved since."
UNMAKEABLE = "The object's present state can't be made:"
STATELESS = "It tells of no change of a registered object: there is no present state."

# What a row repeats is as old as the row that said it first; that may be pruned.
CANDIDATES = f"""
SELECT id, stream, event, object_type, object_id, coalesce(repeats, id), coalesce(
    (SELECT created_at FROM {OUTBOX} AS first WHERE first.id = coalesce(row.repeats, row.id))
        < statement_timestamp() - make_interval(secs => %s),
    true
)
FROM {OUTBOX} AS row WHERE id = ANY(%s) ORDER BY id
"""
# One pass over the history of the batch's streams. What a row says is as old as what it repeats; who repeated
# it as recorded made it neither newer nor older, and said it all the same.
NEWER = f"""
WITH asked AS MATERIALIZED (
    SELECT id, stream, shard, object_type, object_id, coalesce(repeats, id) AS said
    FROM {OUTBOX} WHERE id = ANY(%(pks)s)
), later AS MATERIALIZED (
    SELECT id, stream, object_type, object_id, coalesce(repeats, id) AS said FROM {OUTBOX}
    WHERE stream = ANY(%(streams)s) AND "offset" IS NOT NULL AND failed_at IS NULL
    AND id > (SELECT min(said) FROM asked)
    UNION ALL
    SELECT id, stream, object_type, object_id, coalesce(repeats, id) FROM {OUTBOX}
    WHERE shard = ANY(ARRAY(SELECT DISTINCT shard FROM asked)) AND "offset" IS NULL
    AND stream = ANY(%(streams)s)
), last AS (
    SELECT stream, object_type, object_id, max(said) AS said FROM later GROUP BY 1, 2, 3
)
SELECT id FROM asked JOIN last USING (stream, object_type, object_id) WHERE last.said > asked.said
UNION
SELECT asked.id FROM asked JOIN later USING (stream, said) WHERE later.id > asked.id
"""
MOVES = f"""
SELECT DISTINCT asked.id FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS asked (id, said, stream)
JOIN {OUTBOX} AS row ON row.stream = asked.stream AND row.is_move AND row.id > asked.said
WHERE coalesce(row.repeats, row.id) > asked.said
"""


class Candidate(NamedTuple):
    """A row that is perhaps announced again. The caller has locked it."""

    pk: int
    stream: str
    event: str
    object_type: str
    object_id: str
    #: The primary key of the row that first said what this one says: its own, mostly.
    said: int
    #: Whether rows of its time are pruned by now.
    is_old: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What becomes of a candidate: announced with an event and a payload, or refused for a reason."""

    pk: int
    #: None for what was recorded. The payload is JSON text.
    event: str | None = None
    payload: str | None = None
    #: Why it is not announced; empty if it is.
    reason: str = ""


def candidates(pks: list[int], *, using: str) -> list[Candidate]:
    """Return what is to know of rows before they are announced again, by primary key."""
    with connections[using].cursor() as cursor:
        cursor.execute(CANDIDATES, [outbox_settings().RETENTION_SECONDS, pks])
        return [Candidate._make(found) for found in cursor.fetchall()]


def verdicts(
    batch: Sequence[Candidate],
    *,
    is_current: bool,
    with_superseded: bool,
    using: str,
    is_trial: bool = False,
) -> list[Verdict]:
    """
    Return what becomes of each candidate, in their order. In the caller's transaction.

    Their objects are locked from then on, unless it is a trial: what is announced again, and what changes
    them, come one after the other. Nothing is said that isn't so: of an object that left a stream, or is
    gone, at most that it is not there. And what was recorded before an object moved is not announced to
    those who see it now.
    """
    known = _known()
    present = _present(batch, known, is_trial, using)
    superseded = set() if with_superseded else newer(batch, using=using)
    moved = {} if is_current else _moved(batch, known, present, using)
    found = []
    for candidate in batch:
        announcer = known.get(candidate.object_type)
        row = present.get((candidate.object_type, candidate.object_id))
        if candidate.pk in superseded:
            found.append(Verdict(pk=candidate.pk, reason=SUPERSEDED))
        elif is_current:
            found.append(_as_is(candidate, announcer, row, using))
        else:
            found.append(_as_recorded(candidate, announcer, row, moved))
    return found


def newer(batch: Sequence[Candidate], *, using: str) -> set[int]:
    """Return those followed, in their stream, by a row that repeats them, or says something newer."""
    pks, streams = [c.pk for c in batch], sorted({c.stream for c in batch})
    with connections[using].cursor() as cursor:
        cursor.execute(NEWER, {"pks": pks, "streams": streams})
        return {pk for (pk,) in cursor.fetchall()}


def _as_recorded(
    candidate: Candidate, announcer: Announcer | None, row: Any, moved: Mapping[int, str]
) -> Verdict:
    reason = moved.get(candidate.pk, "")
    if announcer is not None and candidate.event in _changes(announcer):
        is_there = row is not None and candidate.stream in announcer.streams(row)
        if candidate.event == announcer.event("DELETE"):
            # It shows nothing but the id.
            reason = PRESENT if is_there else ""
        elif not is_there:
            reason = ABSENT
    return Verdict(pk=candidate.pk, reason=reason)


def _as_is(candidate: Candidate, announcer: Announcer | None, row: Any, using: str) -> Verdict:
    """Return what is true of the object now: its present state, or that it is not there."""
    if announcer is None or candidate.event not in (changes := _changes(announcer)):
        return Verdict(pk=candidate.pk, reason=STATELESS)
    try:
        if row is not None and candidate.stream in announcer.streams(row):
            verb = "UPDATE" if changes[candidate.event] == "UPDATE" else "CREATE"
            with transaction.atomic(
                using=using
            ):  # its queries may fail, and this transaction goes on
                payload = announcer.payload(row)
        else:
            verb = "DELETE"
            payload = announcer.tombstone(announcer.model._meta.pk.to_python(candidate.object_id))
        text = encode(payload, announcer.object_type)
    except Exception as error:  # noqa: BLE001  # it is the registration's; other rows go on
        # Without its words: there are as many reasons as there are kinds of errors, and no more.
        return Verdict(pk=candidate.pk, reason=f"{UNMAKEABLE} {type(error).__name__}.")
    return Verdict(pk=candidate.pk, event=announcer.event(verb), payload=text)


def _changes(announcer: Announcer) -> dict[str, str]:
    """Return the verbs by the events with which changes of objects are announced."""
    return {announcer.event(verb): verb for verb in ("CREATE", "UPDATE", "DELETE")}


def _known() -> dict[str, Announcer]:
    """Return by object type who announces it; types that several announce have no objects of their own."""
    found = announcers()
    counted = Counter(announcer.object_type for announcer in found)
    return {a.object_type: a for a in found if counted[a.object_type] == 1}


def _present(
    batch: Iterable[Candidate], known: Mapping[str, Announcer], is_trial: bool, using: str
) -> dict[tuple[str, str], Any]:
    """Return the objects that there are by type and primary key, locked unless it is a trial."""
    keys: dict[str, set[Any]] = {}
    for candidate in batch:
        if candidate.object_type in known:
            keys.setdefault(candidate.object_type, set()).add(candidate.object_id)
    found: dict[tuple[str, str], Any] = {}
    # In one order, whoever else replays.
    for name, texts in sorted(keys.items()):
        model = known[name].model
        pks = {pk for text in texts if (pk := _key(model, text)) is not None}
        if is_trial:
            there = {row.pk: row for row in rows(model, using).filter(pk__in=pks)}
        else:
            there = locked(model, using, pk__in=pks)
        found |= {(name, str(pk)): row for pk, row in there.items()}
    return found


def _key(model: Any, text: str) -> Any:
    try:
        return model._meta.pk.to_python(text)
    except ValidationError:
        return None  # the model had other keys when it was announced


def _moved(
    batch: Iterable[Candidate],
    known: Mapping[str, Announcer],
    present: Mapping[tuple[str, str], Any],
    using: str,
) -> dict[int, str]:
    """Return why what was recorded may be for other eyes: that something moved, or that nobody knows."""
    asked, reasons = [], {}
    for candidate in batch:
        announcer = known.get(candidate.object_type)
        row = present.get((candidate.object_type, candidate.object_id))
        streams = (
            [candidate.stream] if announcer is None else announcer.guards(candidate.stream, row)
        )
        asked += [(candidate.pk, candidate.said, stream) for stream in streams]
        if announcer is not None and streams and candidate.is_old:
            reasons[candidate.pk] = OLD
    if asked:
        with connections[using].cursor() as cursor:
            cursor.execute(MOVES, [list(column) for column in zip(*asked, strict=True)])
            reasons |= dict.fromkeys((pk for (pk,) in cursor.fetchall()), MOVED)
    return reasons
