"""Settling of rendered batches: records their results, and writes their follow-ups."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from django.db import connections

from ....conditions import UNRENDERED
from ....metrics.rows import CAPTURED, FAILED, OBSOLETE, RETRIED
from ....models import NUMBERING_SEQUENCE, OUTBOX, STREAMS, shard_of
from ....types.payload import joined
from ...attempts import FailedAttempt, Recorded, record_and_log
from ...locks import numbering_lock
from ...numbering import Numbers, next_offsets, number_rendered
from ..results import FollowUp, Rendered, Unrendered
from .batch import Batch, release
from .taking import DROP

T = TypeVar("T")

#: How many of a stream's last rows are searched for one of the same transaction.
LOOKED_BACK = 1000

# Rows can get their offsets together with their payloads if no other row may have to come first.
FREE = f"""
SELECT id, stream FROM {OUTBOX}
WHERE shard = %(shard)s AND {UNRENDERED.sql} AND id = ANY(%(pks)s) AND NOT EXISTS (
    SELECT FROM {OUTBOX} WHERE shard = %(shard)s AND "offset" IS NULL AND NOT ({UNRENDERED.sql})
) AND NOT EXISTS (
    SELECT FROM {OUTBOX} WHERE shard = %(shard)s AND {UNRENDERED.sql} AND claims > 0
) ORDER BY id
"""
# A payload is set once. Claims and attempts restart at zero: publishers assume that tried rows are the
# first of their streams, but untried rows may precede this one. Keys appear twice: see `PLACE`.
SETTLE = f"""
UPDATE {OUTBOX} AS row SET payload = done.payload::jsonb, image = NULL, claims = 0, attempts = 0,
    obsolete_at = CASE WHEN done.payload IS NULL THEN statement_timestamp() END,
    "offset" = done."offset", stamp = %(stamp)s,
    numbering = CASE WHEN done."offset" IS NULL THEN 0 ELSE (SELECT nextval('{NUMBERING_SEQUENCE}')) END
FROM unnest(%(pks)s::bigint[], string_to_array(%(payloads)s, E'\\x1e', ''), %(offsets)s::bigint[])
    AS done (id, payload, "offset")
WHERE row.id = done.id AND row.id = ANY(%(pks)s)
AND {UNRENDERED.sql_of("row")}
"""
# A follow-up inherits the facts about moves only if a lookup found its object.
ADD = f"""
INSERT INTO {OUTBOX} (stream, shard, event_id, event, object_type, object_id, lookup, transaction,
    is_everywhere, is_move, left_streams)
SELECT added.stream, added.shard, event_id, added.event, added.object_type, added.object_id, added.lookup,
    transaction, added.is_everywhere, is_move AND row.lookup <> '',
    CASE WHEN row.lookup <> '' THEN left_streams END
FROM unnest(%s::bigint[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::boolean[]) AS added (id, shard, stream, event, object_type, object_id, lookup, is_everywhere)
JOIN {OUTBOX} AS row ON row.id = added.id ORDER BY added.id, added.stream
"""
# The last numbered rows of each stream suffice, because rows of one transaction are close together.
ANNOUNCED = f"""
SELECT stream, transaction FROM {OUTBOX} WHERE shard = ANY(%(shards)s) AND "offset" IS NULL
AND stream = ANY(%(streams)s)
UNION SELECT stream, transaction FROM {STREAMS} JOIN {OUTBOX} ON stream = name
WHERE name = ANY(%(streams)s) AND "offset" > head - {LOOKED_BACK}
"""
ADDED = f"UPDATE {OUTBOX} SET is_everywhere = false WHERE id = ANY(%s)"


class Settled(NamedTuple, Generic[T]):
    """The result of settling a batch."""

    rows: int
    #: How many rows got an offset: rows of this batch, and rows rendered earlier.
    numbered: int
    #: The counts of the rows of this batch that could not be rendered.
    failures: Recorded
    #: The result of ``then``.
    outcome: T


def settle(
    batch: Batch,
    results: Sequence[Rendered],
    *,
    using: str,
    then: Callable[[int], T],
) -> "Settled[T] | None":
    """
    Record the results of a batch; return None and change nothing if another process has taken it over.

    Rows get their offsets with their payloads. Rows that were rendered earlier get theirs first, because
    they may show an earlier state of the objects. A superfluous row is deleted, a row whose object is gone
    or has moved becomes obsolete, and a row with an error is retried after its backoff, or fails. ``then``
    is called with the shard before the numbering lock is released. Raises ShardBusyError like `number`.
    """
    with numbering_lock(batch.shard, using=using):
        if not release(batch, using=using):
            return None
        numbered, failures = _record(batch.shard, results, using)
        outcome = then(batch.shard)
    CAPTURED.inc(numbered)
    OBSOLETE.inc(sum(result.is_obsolete for result in results))
    RETRIED.inc(failures.retried)
    FAILED.inc(failures.failed)
    return Settled(len(results), numbered, failures, outcome)


def _record(shard: int, results: Sequence[Rendered], using: str) -> tuple[int, Recorded]:
    """Record the results of a batch; return how many rows got an offset, and the counts of failures."""
    failures = [_failure(result, result.error) for result in results if result.error is not None]
    dropped = {result.row.pk for result in results if result.is_superfluous}
    done = [r for r in results if not r.error and r.row.pk not in dropped]
    free = [] if failures else _free(shard, [result.row.pk for result in done], using)
    is_free = len(free) == len(done)
    numbered = len(free) if is_free else number_rendered(shard, using=using)
    _add_follow_ups([result for result in results if result.follow_ups], using)
    if dropped:
        with connections[using].cursor() as cursor:
            cursor.execute(DROP, [list(dropped)])
    _set_payloads(shard, done, free if is_free else (), using)
    recorded = Recorded()
    if failures:
        said = {"message": "Rendering failed", "action": "render_failed"}
        recorded = record_and_log(failures, using=using, **said)
    if not is_free:
        numbered += number_rendered(shard, using=using)
    return numbered, recorded


def _free(shard: int, pks: list[int], using: str) -> list[tuple[int, str]]:
    """Return key and stream of the rows that can get their offsets now; none if other rows may come first."""
    with connections[using].cursor() as cursor:
        cursor.execute(FREE, {"shard": shard, "pks": pks})
        found: list[tuple[int, str]] = cursor.fetchall()
    return found


def _set_payloads(
    shard: int, done: Sequence[Rendered], free: Sequence[tuple[int, str]], using: str
) -> None:
    """Set the payloads of rows, and the offsets of those that are ``free``."""
    if done:
        streams = [stream for _, stream in free]
        numbers = next_offsets(shard, streams, using=using) if free else Numbers([], 0)
        offsets = dict(zip((pk for pk, _ in free), numbers.offsets, strict=True))
        pks = [result.row.pk for result in done]
        values: dict[str, Any] = {
            "pks": pks,
            "payloads": joined(result.payload for result in done),
            "offsets": list(map(offsets.get, pks)),
            "stamp": numbers.stamp,
        }
        with connections[using].cursor() as cursor:
            cursor.execute(SETTLE, values)


def _add_follow_ups(results: Sequence[Rendered], using: str) -> None:
    """Write the follow-ups of the results. Each is rendered later, like any row."""
    if results:
        follow_ups = _without_repetitions(results, using)
        added = [(row.pk, shard_of(one.stream), *one[:-1]) for row, one in follow_ups]
        with connections[using].cursor() as cursor:
            if added:
                cursor.execute(ADD, [list(column) for column in zip(*added, strict=True)])
            cursor.execute(ADDED, [[result.row.pk for result in results]])


def _without_repetitions(
    results: Sequence[Rendered], using: str
) -> Iterator[tuple[Unrendered, FollowUp]]:
    """
    Yield the follow-ups of the results, each with its originating row, without repetitions.

    A repetition announces an object that the same transaction already announced. Rows are rendered after
    the commit, so that earlier row shows all changes of the transaction. This also ends the recursion of
    objects that include each other.
    """
    maybe = {one.stream for result in results for one in result.follow_ups if one.is_repetition}
    announced: set[tuple[str, int | None]] = set()
    if maybe:
        values: dict[str, Any] = {"shards": list({*map(shard_of, maybe)}), "streams": list(maybe)}
        with connections[using].cursor() as cursor:
            cursor.execute(ANNOUNCED, values)
            announced.update(cursor.fetchall())
    for row, one in ((result.row, one) for result in results for one in result.follow_ups):
        change = (one.stream, row.transaction)
        if not (one.is_repetition and change in announced):
            announced.add(change)
            yield row, one


def _failure(result: Rendered, error: Exception) -> FailedAttempt:
    row = result.row
    return FailedAttempt(
        row.pk,
        row.attempts,
        error,
        row.object_type,
        result.quotable or row.image,
        result.omitted,
        row.event_id,
    )
