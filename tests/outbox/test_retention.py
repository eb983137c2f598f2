"""Published rows past their retention are pruned, and nothing else."""

from datetime import timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from apps.outbox.attempts import retry
from apps.outbox.criteria import Criteria
from apps.outbox.models import NotificationOutbox
from apps.outbox.replay import carry_out, decide, last_pk
from apps.outbox.retention import Pruned, prune
from tests.database import elsewhere, row_locks

pytestmark = pytest.mark.django_db(transaction=True)

OLD = Now() - timedelta(days=8)


def make(offset, **values):
    return NotificationOutbox.objects.create(
        stream="ticket:1", shard=0, offset=offset, event="X", object_id="1", payload={}, **values
    )


def fail(row):
    """Let a row spend its attempts."""
    retry([(row.pk, 0, LookupError("no such type"))], using=DEFAULT_DB_ALIAS)
    return row


def test_prunes_old_published_rows_only(settings):
    """
    However old, a pending or failed row stays; so does what was published within retention.
    """
    settings.OUTBOX = settings.OUTBOX | {"PRUNE_ROWS": 1, "MAX_ATTEMPTS": 1}
    make(1, published_at=OLD)
    make(2, published_at=OLD)
    kept = [
        make(3, published_at=Now()),
        fail(make(4, created_at=OLD)),
        make(5, created_at=OLD, available_at=OLD),
    ]
    assert Pruned(rows=2, is_cut_short=False) == prune(using=DEFAULT_DB_ALIAS)
    assert kept == list(NotificationOutbox.objects.order_by("id"))


def test_a_replayed_row_outlives_its_replay(settings, demo):
    """
    Pruning the row that a failed one was replayed as leaves the failed one, and who decided.
    """
    settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 1}
    failed = fail(make(1))
    replay = decide(
        Criteria(pks=(failed.pk,)),
        by=demo,
        reason="mended",
        last=last_pk(using=DEFAULT_DB_ALIAS),
        using=DEFAULT_DB_ALIAS,
    )
    carry_out(replay.pk, using=DEFAULT_DB_ALIAS)
    again = NotificationOutbox.objects.pending().get(repeats=failed.pk)
    NotificationOutbox.objects.filter(pk=again.pk).update(offset=2, published_at=OLD)
    assert 1 == prune(using=DEFAULT_DB_ALIAS).rows
    failed.refresh_from_db()
    assert failed.replayed_as is None
    assert failed.replayed_at is not None


def test_nobody_waits_for_it(settings):
    """
    What another transaction has locked is left for the next time, and it stops when its time is over.
    """
    settings.OUTBOX = settings.OUTBOX | {"PRUNE_ROWS": 1}
    locked, *_ = [make(offset, published_at=OLD) for offset in (1, 2, 3)]
    with elsewhere(row_locks(NotificationOutbox.objects.filter(pk=locked.pk))):
        first, second = (prune(using=DEFAULT_DB_ALIAS, seconds=seconds) for seconds in (0, 60))
    assert (Pruned(rows=1, is_cut_short=True), 1) == (first, second.rows)
    assert 1 == prune(using=DEFAULT_DB_ALIAS).rows
