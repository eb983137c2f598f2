"""The rows of a shard, from the moment a worker takes them to the outcome it records."""

import random
import traceback
from collections.abc import Iterable
from itertools import accumulate

from django.db import connections
from django.db.models import F, Func, IntegerField
from django.db.models.functions import Now

from .backoff import backoff
from .conf import outbox_settings
from .models import SHARDS, NotificationOutbox, OutboxQuerySet

LONGEST_ERROR = 20_000

SHARDS_WITH_WORK = """
SELECT each.shard FROM generate_series(0, %(last)s) AS each(shard)
WHERE EXISTS (SELECT FROM {outbox} AS row WHERE row.shard = each.shard AND "offset" IS NULL)
   OR EXISTS (SELECT FROM {outbox} AS row WHERE row.shard = each.shard AND "offset" IS NOT NULL
              AND published_at IS NULL AND failed_at IS NULL AND available_at <= statement_timestamp()
              AND NOT EXISTS (SELECT FROM {outbox} AS before WHERE before.shard = row.shard
                              AND before.stream = row.stream AND before."offset" IS NOT NULL
                              AND before.published_at IS NULL AND before.failed_at IS NULL
                              AND before.attempts > 0
                              AND before.available_at > statement_timestamp()))
ORDER BY each.shard
"""


def shards_with_work(*, using: str) -> list[int]:
    """Return the shards that have rows to number or to publish now."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            SHARDS_WITH_WORK.format(outbox=NotificationOutbox._meta.db_table), {"last": SHARDS - 1}
        )
        return [shard for (shard,) in cursor.fetchall()]


def due(shard: int, *, using: str) -> list[NotificationOutbox]:
    """Return the shard's next batch to publish. The caller holds the publishing lock."""
    conf = outbox_settings()
    rows = NotificationOutbox.objects.using(using).due(shard)
    size = Func(
        "payload", template="octet_length(%(expressions)s::text)", output_field=IntegerField()
    )
    sizes = list(rows.values_list("pk", size)[: conf.BATCH_ROWS])
    # Bounded before anything is loaded: PostgreSQL waits for the batch, but not for ever.
    totals = accumulate(length for _, length in sizes)
    pks = [pk for (pk, _), total in zip(sizes, totals, strict=True) if total <= conf.BATCH_BYTES]
    pks = pks or [pk for pk, _ in sizes[:1]]
    return list(rows.filter(pk__in=pks))


def settle(rows: Iterable[NotificationOutbox], *, using: str) -> int:
    """Record that the rows were published. The caller holds the publishing lock."""
    return _pending(rows, using).update(published_at=Now())


def give_back(rows: Iterable[NotificationOutbox], *, using: str) -> int:
    """Take back the claim on rows that were not tried: the channel layer is away."""
    return _pending(rows, using).update(claims=F("claims") - 1)


def retry(row: NotificationOutbox, error: Exception, *, using: str) -> bool:
    """
    Record a failed attempt; return whether the row is due again after its backoff.

    After ``MAX_ATTEMPTS`` it is failed instead. The error's type, message and traceback are kept.
    The caller holds the publishing lock.
    """
    conf = outbox_settings()
    row.attempts += 1
    text = "".join(traceback.format_exception(error))
    outcome: dict[str, object] = {
        "attempts": row.attempts,
        "error_type": f"{type(error).__module__}.{type(error).__qualname__}",
        "error_message": str(error)[:LONGEST_ERROR],
        "error_traceback": text[-LONGEST_ERROR:],
    }
    spent = row.attempts >= conf.MAX_ATTEMPTS
    if spent:
        outcome["failed_at"] = Now()
    else:
        outcome["available_at"] = Now() + backoff(
            row.attempts,
            base=conf.BACKOFF_BASE_SECONDS,
            ceiling=conf.BACKOFF_CEILING_SECONDS,
            jitter=random.random,
        )
    _pending([row], using).update(**outcome)
    return not spent


def _pending(rows: Iterable[NotificationOutbox], using: str) -> OutboxQuerySet:
    pks = [row.pk for row in rows]
    return NotificationOutbox.objects.using(using).pending().filter(pk__in=pks)
