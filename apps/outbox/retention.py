"""How long published rows are kept."""

import time
from dataclasses import dataclass

from django.db import connections, transaction

from .conf import outbox_settings
from .models import NotificationOutbox

OUTBOX = NotificationOutbox._meta.db_table

# What another prune has in hand is left to it: nobody waits.
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
    """How many rows one prune deleted, and whether it left some because its time was over."""

    rows: int
    is_cut_short: bool


def prune(*, using: str, seconds: float = float("inf")) -> Pruned:
    """
    Delete published rows older than ``RETENTION_SECONDS``.

    In small transactions, so that nobody waits for it. Pending and failed rows are never touched.
    """
    rows, end = 0, time.monotonic() + seconds
    while batch := _prune_batch(using):
        rows += batch
        if time.monotonic() >= end:
            return Pruned(rows=rows, is_cut_short=True)
    return Pruned(rows=rows, is_cut_short=False)


def prunable(*, using: str) -> int:
    """Return how many rows `prune` would delete."""
    with connections[using].cursor() as cursor:
        cursor.execute(COUNT, [outbox_settings().RETENTION_SECONDS])
        return int(cursor.fetchone()[0])


def _prune_batch(using: str) -> int:
    conf = outbox_settings()
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(OLD, [conf.RETENTION_SECONDS, conf.PRUNE_ROWS])
        if pks := [pk for (pk,) in cursor.fetchall()]:
            cursor.execute(FORGET, [pks])
            cursor.execute(DELETE, [pks])
    return len(pks)
