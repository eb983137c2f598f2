"""
Replays are carried out, batch by batch.

Each batch is one transaction that commits the new rows together with the position. So a killed process
leaves nothing half done, and another one continues.
"""

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from enum import Enum

from django.db import connections, transaction
from django.db.models.functions import Now

from ..capture.wake_ups import wake_up_on_commit
from ..logs import get_logger
from ..models import OutboxQuerySet, Replay
from ..stream.redaction import without_values
from .announcement import announce_again
from .audit import log_rows
from .candidates import Candidate, candidates
from .criteria import Criteria
from .decisions import announceable, unfinished
from .eligibility import SUPERSEDED, assess

logger = get_logger(__name__)

#: Rows examined in one transaction. Their objects are locked meanwhile, so that saves of them wait.
BATCH = 500
#: A batch that waits for a lock for this long gives up, and is retried. Shorter than `deadlock_timeout`, so
#: that the replay gives way and not the other transaction.
LOCK_MS = 500
#: PostgreSQL ends the transaction of a stopped process after this time, and so releases its locks.
IDLE_MS = 10_000
MEANWHILE = "Replayed earlier or meanwhile, or pruned."

LIMITS = (
    "SELECT set_config('lock_timeout', %s, true),"
    " set_config('idle_in_transaction_session_timeout', %s, true)"
)


class BatchOutcome(Enum):
    """How a batch ended."""

    #: There may be more rows.
    MORE = 1
    #: The replay is finished or cancelled.
    OVER = 2
    #: Another process carries it out.
    TAKEN = 3
    #: It can't continue at the moment; `Replay.blocked_reason` says why.
    BLOCKED = 4


def carry_out(key: uuid.UUID, *, using: str, seconds: float = float("inf")) -> BatchOutcome:
    """Announce batch after batch until the replay is over, blocked or taken, or the time is up."""
    end = time.monotonic() + seconds
    while (
        outcome := carry_out_batch(key, using=using)
    ) is BatchOutcome.MORE and time.monotonic() < end:
        pass
    return outcome


def carry_out_all(*, using: str, seconds: float) -> bool:
    """Carry out all unfinished replays, oldest first; return True if the time was up before the end."""
    end = time.monotonic() + seconds
    keys = list(unfinished(using=using).order_by("created_at").values_list("pk", flat=True))
    for key in keys:
        outcome = carry_out(key, using=using, seconds=end - time.monotonic())
        if outcome is BatchOutcome.MORE:
            return True
    return False


def carry_out_batch(key: uuid.UUID, *, using: str) -> BatchOutcome:
    """Announce the replay's next batch. Other processes may call it at the same time."""
    try:
        with transaction.atomic(using=using, durable=True):
            return _carry_out_batch(key, using)
    except Exception as error:  # noqa: BLE001  # other replays continue
        why = without_values(error)
        extra = {"action": "replay_hindered", "replay": str(key), "error": why}
        logger.warning("A replay can't continue at the moment", extra=extra)
        # This raises if the database is away.
        unfinished(using=using).filter(pk=key).update(blocked_reason=why)
        return BatchOutcome.BLOCKED


def _carry_out_batch(key: uuid.UUID, using: str) -> BatchOutcome:
    with connections[using].cursor() as cursor:
        cursor.execute(LIMITS, [str(LOCK_MS), str(IDLE_MS)])
    replay = unfinished(using=using).select_for_update(skip_locked=True).filter(pk=key).first()
    if replay is None:
        return (
            BatchOutcome.TAKEN
            if unfinished(using=using).filter(pk=key).exists()
            else BatchOutcome.OVER
        )
    criteria = Criteria.parse(replay.criteria)
    rows = announceable(criteria, is_resend=replay.is_resend, using=using).filter(
        replayed_at=None, pk__gt=replay.position, pk__lte=replay.last_pk
    )
    if batch := _lock(rows, using):
        _announce(replay, batch, using)
    else:
        _finish(replay)
    return BatchOutcome.MORE if replay.finished_at is None else BatchOutcome.OVER


def _lock(rows: OutboxQuerySet, using: str) -> list[Candidate]:
    """Lock the next batch of rows, so that no other replay announces them."""
    locked = rows.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True)
    return candidates(list(locked[:BATCH]), using=using)


def _announce(replay: Replay, batch: Sequence[Candidate], using: str) -> None:
    found = assess(
        batch,
        is_current=replay.is_current,
        with_superseded=replay.with_superseded,
        using=using,
    )
    chosen = [each for each in found if not each.reason]
    if chosen:
        announce_again(replay, chosen, using=using)
        if "pks" in replay.criteria:
            log_rows(replay, [each.pk for each in chosen])
        wake_up_on_commit(using)
    reasons = Counter(each.reason for each in found if each.reason)
    replay.announced += len(chosen)
    replay.superseded += reasons.pop(SUPERSEDED, 0)
    replay.refused += reasons.total()
    replay.refusals = dict(Counter(replay.refusals) + reasons)
    replay.position = batch[-1].pk
    replay.blocked_reason = ""
    replay.save()


def _finish(replay: Replay) -> None:
    """Mark the replay as finished. Rows that were counted but not found count as refused."""
    if (rest := replay.total - replay.examined) > 0:
        replay.refused += rest
        replay.refusals = dict(Counter(replay.refusals) + Counter({MEANWHILE: rest}))
    replay.finished_at, replay.blocked_reason = Now(), ""
    replay.save()
