"""Retention: deletes old published rows, and waiting rows of object types that were removed."""

import time
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from ..conditions import UNRENDERED
from ..conf import pillarbox_settings
from ..models import OUTBOX, NotificationOutbox, OneTimeToken

# Skips rows that another prune has locked, so that none waits.
OLD = f"""
SELECT id FROM {OUTBOX} WHERE published_at < statement_timestamp() - make_interval(secs => %s)
ORDER BY published_at LIMIT %s FOR UPDATE SKIP LOCKED
"""
COUNT = f"""
SELECT count(*) FROM {OUTBOX} WHERE published_at < statement_timestamp() - make_interval(secs => %s)
"""
FORGET = f"UPDATE {OUTBOX} SET replayed_as_id = NULL WHERE replayed_as_id = ANY(%s)"
DELETE = f"DELETE FROM {OUTBOX} WHERE id = ANY(%s)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """The number of rows that one prune deleted, and whether its time limit ended it early."""

    rows: int
    is_cut_short: bool


def prune(*, using: str, seconds: float = float("inf")) -> Pruned:
    """
    Delete published rows older than ``RETENTION_SECONDS``, and expired one-time tokens, which don't count.

    It uses small transactions, so that others don't wait for it. Pending and failed rows are kept.
    """
    OneTimeToken.objects.using(using).filter(expires_at__lt=Now()).delete()
    rows, end = 0, time.monotonic() + seconds
    while batch := _prune_batch(using):
        rows += batch
        if time.monotonic() >= end:
            return Pruned(rows=rows, is_cut_short=True)
    return Pruned(rows=rows, is_cut_short=False)


def prunable(*, using: str) -> int:
    """Return how many rows `prune` would delete."""
    with connections[using].cursor() as cursor:
        cursor.execute(COUNT, [pillarbox_settings().RETENTION_SECONDS])
        return int(cursor.fetchone()[0])


def waiting(object_type: str, *, using: str) -> QuerySet[NotificationOutbox]:
    """Return the unrendered rows of an object type. They have no offset, so deleting them leaves no gap."""
    rows = NotificationOutbox.objects.using(using)
    return rows.filter(UNRENDERED.q, object_type=object_type, offset=None)


def discard(object_type: str, *, using: str) -> int:
    """Delete the unrendered rows of an object type, in small transactions; return how many."""
    rows, found = 0, waiting(object_type, using=using).order_by("id")
    while True:
        with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
            batch = found.select_for_update(skip_locked=True)[: pillarbox_settings().PRUNE_ROWS]
            if not (pks := list(batch.values_list("pk", flat=True))):
                return rows
            _delete(cursor, pks)
        rows += len(pks)


def _prune_batch(using: str) -> int:
    conf = pillarbox_settings()
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(OLD, [conf.RETENTION_SECONDS, conf.PRUNE_ROWS])
        if pks := [pk for (pk,) in cursor.fetchall()]:
            _delete(cursor, pks)
    return len(pks)


def _delete(cursor: Any, pks: list[int]) -> None:
    cursor.execute(FORGET, [pks])
    cursor.execute(DELETE, [pks])
