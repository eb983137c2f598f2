"""The operators' tables: their rules are constraints, too."""

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from pillarbox.models import MinuteCounts, Process, Replay

pytestmark = pytest.mark.django_db


def decided(**values):
    defaults = {"criteria": {}, "last_pk": 0, "total": 3, "by_name": "ann", "reason": "fixed"}
    return Replay.objects.create(**{**defaults, **values})


def test_a_replay_ends_in_one_way():
    """
    A replay can't be both finished and cancelled.
    """
    with pytest.raises(IntegrityError, match="pillarbox_replay_one_end"), transaction.atomic():
        decided(finished_at=Now(), cancelled_at=Now())


def test_they_name_themselves(db):
    """
    Each model has a readable text for the admin's lists and logs.
    """
    assert "Replay of 3 rows by ann" == str(decided())
    assert "Resend of 3 rows by ann" == str(decided(is_resend=True))
    assert "daphne@a:1" == str(Process(name="daphne@a:1", kind="daphne"))
    row = MinuteCounts.objects.create(
        starts_at="2026-11-22T10:07Z", captured=0, published=0, failed=0, lag=0
    )
    row.refresh_from_db()
    assert "2026-11-22 10:07" == str(row)
