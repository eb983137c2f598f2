"""What an operator sees has its rules in the database, too."""

import importlib

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from apps.outbox.attempts import fingerprint
from apps.outbox.models import Instance, Minute, Replay
from tests.outbox.rows import make

pytestmark = pytest.mark.django_db


def decided(**values):
    defaults = {"criteria": {}, "last_pk": 0, "total": 3, "by_name": "ann", "reason": "mended"}
    return Replay.objects.create(**{**defaults, **values})


def test_a_replay_ends_in_one_way():
    """
    It can't be both finished and cancelled.
    """
    with pytest.raises(IntegrityError, match="replay_one_end"), transaction.atomic():
        decided(finished_at=Now(), cancelled_at=Now())


def test_they_name_themselves(db):
    """
    In the admin's lists and logs.
    """
    assert "Replay of 3 rows by ann" == str(decided())
    assert "Resend of 3 rows by ann" == str(decided(is_resend=True))
    assert "daphne@a:1" == str(Instance(name="daphne@a:1", kind="daphne"))
    row = Minute.objects.create(
        starts_at="2026-11-22T10:07Z", captured=0, published=0, failed=0, lag=0
    )
    row.refresh_from_db()
    assert "2026-11-22 10:07" == str(row)


def test_rows_that_failed_before_get_their_fingerprint():
    """
    The migration gives old failed rows what new ones get, and leaves the others alone.
    """
    failed = make(1, failed_at=Now(), error_type="E", error_message="no row 7")
    pending = make(2)
    migration = importlib.import_module("apps.outbox.migrations.0006_indexes_of_operations")
    with connection.schema_editor() as editor:
        migration.derive_fingerprints(apps, editor)
    failed.refresh_from_db()
    pending.refresh_from_db()
    assert (fingerprint("E", "no row 8"), "") == (
        failed.error_fingerprint,
        pending.error_fingerprint,
    )
