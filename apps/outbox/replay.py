"""
A person's decision to announce rows again, and carrying it out.

By batches, each a transaction: what it announces is committed together with how far it came. Whoever
is killed leaves nothing half-done, and another goes on.
"""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connections, transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from .audit import log, log_rows
from .bell import ring_on_commit
from .conf import outbox_settings
from .criteria import Criteria
from .models import NotificationOutbox, OutboxQuerySet, Replay
from .redaction import without_values
from .verdicts import SUPERSEDED, Candidate, Verdict, candidates, verdicts

logger = logging.getLogger(__name__)

#: Rows looked at in one transaction: their objects are locked meanwhile, and who saves one waits.
BATCH = 500
#: A batch that waits so long for a lock gives way, and is tried again. Shorter than what PostgreSQL waits
#: before it ends somebody in a circle: it shall be us.
LOCK_MS = 500
#: A batch whose process is frozen loses its locks after so long.
IDLE_MS = 10_000
MEANWHILE = "Replayed before or meanwhile, or pruned."
OUTBOX = NotificationOutbox._meta.db_table

LIMITS = (
    "SELECT set_config('lock_timeout', %s, true),"
    " set_config('idle_in_transaction_session_timeout', %s, true)"
)
# The new rows' keys are drawn in the order of the old ones. All rows of one change that are sent anew
# get one new event id between them.
ANNOUNCE = f"""
WITH chosen AS MATERIALIZED (
    SELECT pk, event, payload::jsonb, nextval(pg_get_serial_sequence('{OUTBOX}', 'id')) AS new FROM (
        SELECT * FROM unnest(%(pks)s::bigint[], %(events)s::text[], %(payloads)s::text[])
            AS given (pk, event, payload) ORDER BY pk
    ) AS ordered
), announced AS (
    INSERT INTO {OUTBOX}
        (id, stream, shard, event_id, event, object_type, object_id, is_move, payload, repeats)
    SELECT new, stream, shard,
        CASE WHEN %(resend)s::uuid IS NULL THEN event_id ELSE md5(%(resend)s || event_id::text)::uuid END,
        coalesce(chosen.event, row.event), object_type, object_id, is_move,
        coalesce(chosen.payload, row.payload),
        CASE WHEN chosen.payload IS NULL THEN coalesce(repeats, row.id) END
    FROM chosen JOIN {OUTBOX} AS row ON row.id = pk AND row.id = ANY(%(pks)s) ORDER BY new
)
UPDATE {OUTBOX} AS row
SET replayed_at = statement_timestamp(), replayed_by_id = %(by)s, replayed_as_id = new
FROM chosen WHERE row.id = pk AND row.id = ANY(%(pks)s) AND %(resend)s::uuid IS NULL
"""


class Turn(Enum):
    """How a batch ended."""

    #: There is perhaps more.
    MORE = 1
    #: All is done, or it was cancelled.
    OVER = 2
    #: Somebody else is at it.
    TAKEN = 3
    #: It couldn't go on; `Replay.hindrance` says why.
    HINDERED = 4


def announceable(criteria: Criteria, *, is_resend: bool, using: str) -> OutboxQuerySet:
    """Return the rows that a decision about these criteria is about: failed ones, or published ones."""
    rows = criteria.rows(using=using)
    return rows.published() if is_resend else rows.failed()


def last_pk(*, using: str) -> int:
    """Return the primary key of the last row there is, for a decision not to be about later ones."""
    return NotificationOutbox.objects.using(using).aggregate(last=Max("pk"))["last"] or 0


def decide(
    criteria: Criteria,
    *,
    by: AbstractBaseUser,
    reason: str,
    last: int,
    using: str,
    key: uuid.UUID | None = None,
    is_resend: bool = False,
    is_current: bool = False,
    with_superseded: bool = False,
) -> Replay:
    """
    Record a decision to announce rows again, and return it; nothing is announced yet.

    The same ``key`` decides once: asked again, it returns what was decided first. Of the rows up to
    ``last`` each is announced once for it, as recorded or, ``is_current``, with its object's present
    state; those that newer rows follow only ``with_superseded``.
    """
    total = announceable(criteria, is_resend=is_resend, using=using).filter(pk__lte=last).count()
    with transaction.atomic(using=using):
        replay, is_new = Replay.objects.using(using).get_or_create(
            pk=key or uuid.uuid4(),
            defaults={
                "is_resend": is_resend,
                "is_current": is_current,
                "with_superseded": with_superseded,
                "criteria": criteria.as_json(),
                "last_pk": last,
                "reason": reason,
                "by_id": by.pk,
                "by_name": by.get_username(),
                "total": total,
            },
        )
        if is_new:
            log(replay, f"{replay.verb} of {criteria}: {reason}", is_new=True)
            transaction.on_commit(lambda: _ask(using), using=using, robust=True)
    return replay


def cancel(key: uuid.UUID, *, by: AbstractBaseUser, using: str) -> bool:
    """End a replay before it is finished; what it announced stays. Return whether it wasn't over yet."""
    with transaction.atomic(using=using):
        found = _unfinished(using).select_for_update().filter(pk=key).first()
        if found is None:
            return False
        found.cancelled_at = Now()
        found.hindrance = ""
        found.save(update_fields=["cancelled_at", "hindrance"])
        found.by_id = by.pk  # who cancelled may be somebody else: not saved
        log(found, "Cancelled.")
    return True


def carry_out(key: uuid.UUID, *, using: str, seconds: float = float("inf")) -> Turn:
    """Announce what was decided, batch after batch, until it is over, hindered or the time is."""
    end = time.monotonic() + seconds
    while (turn := carry_out_batch(key, using=using)) is Turn.MORE and time.monotonic() < end:
        pass
    return turn


def carry_out_all(*, using: str, seconds: float) -> bool:
    """Carry out every decision that isn't, oldest first; return whether the time was over before."""
    end = time.monotonic() + seconds
    keys = list(_unfinished(using).order_by("created_at").values_list("pk", flat=True))
    for key in keys:
        turn = carry_out(key, using=using, seconds=end - time.monotonic())
        if turn is Turn.MORE:
            return True
    return False


def carry_out_batch(key: uuid.UUID, *, using: str) -> Turn:
    """Announce the next batch of what was decided, once, whoever else is at it."""
    try:
        with transaction.atomic(using=using, durable=True):
            return _carry_out_batch(key, using)
    except Exception as error:  # noqa: BLE001  # other replays go on
        why = without_values(error)
        extra = {"action": "replay_hindered", "replay": str(key), "error": why}
        logger.warning("A replay can't go on at the moment", extra=extra)
        # This raises, if it is the database that is away.
        _unfinished(using).filter(pk=key).update(hindrance=why)
        return Turn.HINDERED


def _carry_out_batch(key: uuid.UUID, using: str) -> Turn:
    with connections[using].cursor() as cursor:
        cursor.execute(LIMITS, [str(LOCK_MS), str(IDLE_MS)])
    replay = _unfinished(using).select_for_update(skip_locked=True).filter(pk=key).first()
    if replay is None:
        return Turn.TAKEN if _unfinished(using).filter(pk=key).exists() else Turn.OVER
    criteria = Criteria.parse(replay.criteria)
    rows = announceable(criteria, is_resend=replay.is_resend, using=using).filter(
        replayed_at=None, pk__gt=replay.position, pk__lte=replay.last_pk
    )
    if batch := _lock(rows, using):
        _announce(replay, batch, using)
    else:
        _finish(replay)
    return Turn.MORE if replay.finished_at is None else Turn.OVER


def _lock(rows: OutboxQuerySet, using: str) -> list[Candidate]:
    """Lock the next batch of rows; nobody else announces them again."""
    locked = rows.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True)
    return candidates(list(locked[:BATCH]), using=using)


def _announce(replay: Replay, batch: Sequence[Candidate], using: str) -> None:
    found = verdicts(
        batch,
        is_current=replay.is_current,
        with_superseded=replay.with_superseded,
        using=using,
    )
    chosen = [verdict for verdict in found if not verdict.reason]
    if chosen:
        _insert(replay, chosen, using)
        if "pks" in replay.criteria:
            log_rows(replay, [verdict.pk for verdict in chosen])
        ring_on_commit(using)
    reasons = Counter(verdict.reason for verdict in found if verdict.reason)
    replay.announced += len(chosen)
    replay.superseded += reasons.pop(SUPERSEDED, 0)
    replay.refused += reasons.total()
    replay.refusals = dict(Counter(replay.refusals) + reasons)
    replay.position = batch[-1].pk
    replay.hindrance = ""
    replay.save()


def _insert(replay: Replay, chosen: Sequence[Verdict], using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(
            ANNOUNCE,
            {
                "pks": [verdict.pk for verdict in chosen],
                "events": [verdict.event for verdict in chosen],
                "payloads": [verdict.payload for verdict in chosen],
                "resend": str(replay.pk) if replay.is_resend else None,
                "by": replay.by_id,
            },
        )


def _finish(replay: Replay) -> None:
    """Note the end; rows that were counted and never met are accounted for."""
    if (rest := replay.total - replay.looked_at) > 0:
        replay.refused += rest
        replay.refusals = dict(Counter(replay.refusals) + Counter({MEANWHILE: rest}))
    replay.finished_at, replay.hindrance = Now(), ""
    replay.save()


def _unfinished(using: str) -> Any:
    return Replay.objects.using(using).filter(finished_at=None, cancelled_at=None)


def _ask(using: str) -> None:
    if path := outbox_settings().REPLAY:
        import_string(path)(using)
