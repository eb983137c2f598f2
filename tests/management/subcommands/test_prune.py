"""`manage.py pillarbox prune`: old rows, and rows of removed types."""

from datetime import timedelta

import pytest
from django.core.management import CommandError
from django.db.models.functions import Now

from pillarbox.models import NotificationOutbox
from tests.management.calling import facts, failed, outbox
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)


def test_deletes_old_rows():
    """
    Published rows past their retention are deleted; a dry run counts them.
    """
    make(1, published_at=Now() - timedelta(days=8)), make(2, published_at=Now()), failed(3)
    assert ("1 rows would be deleted.\n", 0) == outbox("prune", "--dry-run")
    assert {"pruned": 0, "prunable": 1} == facts("prune", "--dry-run")
    assert {"pruned": 1, "prunable": 0} == facts("prune")
    assert ("0 rows are deleted.\n", 0) == outbox("prune")
    assert 2 == NotificationOutbox.objects.count()


class TestPruneOfARemovedType:
    @pytest.fixture
    def rows(self):
        """Return waiting rows of an unregistered type, one of them a replay, beside other rows."""
        first, second = (make(None, object_type="gone", payload=None) for _ in "ab")
        failed(9, replayed_at=Now(), replayed_as=second, object_type="gone")
        make(None, payload=None)
        return [first, second]

    def test_deletes_waiting_rows(self, settings, rows, caplog):
        """
        All waiting rows of the type are deleted in small transactions, no others; a log line says
        so.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "PRUNE_ROWS": 1}
        arguments = ["prune", "--object-type", "gone"]
        assert ("2 rows would be deleted.\n", 0) == outbox(*arguments, "--dry-run")
        assert ("2 rows are deleted.\n", 0) == outbox(*arguments, "--yes")
        assert ("0 rows are deleted.\n", 0) == outbox(*arguments)
        assert ["ticket", "gone"] == [
            row.object_type for row in NotificationOutbox.objects.order_by("offset", "id").reverse()
        ]
        (line,) = [line for line in caplog.records if line.name.endswith("prune")]
        assert ("rows_discarded", "gone", 2) == (
            line.pillarbox_action,
            line.pillarbox_object_type,
            line.pillarbox_rows,
        )

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (
                ["ticket", "--yes"],
                "--object-type: 'ticket' is registered; workers render its rows.",
            ),
            (["gone"], "--yes: expected, since there is no terminal to ask."),
        ],
    )
    def test_refuses_a_registered_type_or_no_confirmation(self, rows, arguments, words):
        """
        A registered type is refused, and so is a run without confirmation.
        """
        with pytest.raises(CommandError, match=words):
            outbox("prune", "--object-type", *arguments)
        assert 4 == NotificationOutbox.objects.count()
