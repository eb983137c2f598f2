"""Retention: published rows past their retention are deleted, and no others."""

from datetime import timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from pillarbox.models import NotificationOutbox
from pillarbox.replay.criteria import Criteria
from pillarbox.replay.decisions import decide, last_pk
from pillarbox.replay.replay import carry_out
from pillarbox.stream.attempts import FailedAttempt, record
from pillarbox.stream.retention import Pruned, prune
from tests.database import elsewhere, row_locks

pytestmark = pytest.mark.django_db(transaction=True)

OLD = Now() - timedelta(days=8)


def make(offset, **values):
    return NotificationOutbox.objects.create(
        stream="ticket:1", shard=0, offset=offset, event="X", object_id="1", payload={}, **values
    )


def fail(row):
    """Spend all attempts of a row."""
    record([FailedAttempt(row.pk, 0, LookupError("no such type"))], using=DEFAULT_DB_ALIAS)
    return row


def test_prunes_old_published_rows_only(settings):
    """
    Pending and failed rows of any age stay, and so do published rows within the retention.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"PRUNE_ROWS": 1, "MAX_ATTEMPTS": 1}
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
    When the replay's new row is pruned, the failed row and its operator stay.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 1}
    failed = fail(make(1))
    replay = decide(
        Criteria(pks=(failed.pk,)),
        by=demo,
        reason="fixed",
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


def test_others_do_not_wait_for_it(settings):
    """
    Locked rows are left for the next prune, and the time limit is respected.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"PRUNE_ROWS": 1}
    locked, *_ = [make(offset, published_at=OLD) for offset in (1, 2, 3)]
    with elsewhere(row_locks(NotificationOutbox.objects.filter(pk=locked.pk))):
        first, second = (prune(using=DEFAULT_DB_ALIAS, seconds=seconds) for seconds in (0, 60))
    assert (Pruned(rows=1, is_cut_short=True), 1) == (first, second.rows)
    assert 1 == prune(using=DEFAULT_DB_ALIAS).rows
