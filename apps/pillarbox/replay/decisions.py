"""Decisions of operators to announce rows again, and to cancel that."""

import uuid

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from ..conf import pillarbox_settings
from ..models import NotificationOutbox, OutboxQuerySet, Replay
from .audit import log
from .criteria import Criteria


def announceable(criteria: Criteria, *, is_resend: bool, using: str) -> OutboxQuerySet:
    """Return the matching rows that can be announced again: failed ones, or published ones for a resend."""
    rows = criteria.rows(using=using)
    return rows.published() if is_resend else rows.failed()


def last_pk(*, using: str) -> int:
    """Return the primary key of the last row, so that a replay can leave out later rows."""
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
    Record a decision to announce rows again, and return it. Nothing is announced yet.

    A second call with the same ``key`` returns the first decision. Each matching row up to ``last`` is
    announced once: as recorded, or with its object's present state if ``is_current``. Superseded rows
    are left out unless ``with_superseded``.
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
            transaction.on_commit(lambda: _ask_worker(using), using=using, robust=True)
    return replay


def cancel(key: uuid.UUID, *, by: AbstractBaseUser, using: str) -> bool:
    """Cancel a replay; rows announced so far stay announced. Return False if it was over already."""
    with transaction.atomic(using=using):
        found = unfinished(using=using).select_for_update().filter(pk=key).first()
        if found is None:
            return False
        found.cancelled_at = Now()
        found.blocked_reason = ""
        found.save(update_fields=["cancelled_at", "blocked_reason"])
        found.by_id = by.pk  # for the log only, not saved: another operator may have cancelled
        log(found, "Cancelled.")
    return True


def unfinished(*, using: str) -> QuerySet[Replay]:
    """Return the decisions that are neither finished nor cancelled."""
    return Replay.objects.using(using).filter(finished_at=None, cancelled_at=None)


def _ask_worker(using: str) -> None:
    if path := pillarbox_settings().REPLAY:
        import_string(path)(using)
