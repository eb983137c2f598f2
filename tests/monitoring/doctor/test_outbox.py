"""Tests of the doctor's checks of the outbox's rows, and of the settings."""

import re

import pytest

from pillarbox.models import Claim, NotificationOutbox
from pillarbox.monitoring.doctor import configuration, outbox
from tests.announcing import announce

from .situations import OUTBOX, found, look, one, sql

pytestmark = pytest.mark.django_db(transaction=True)


class TestOutbox:
    def test_sound(self):
        """
        An outbox that is empty, or has only fresh rows, gives no findings.
        """
        announce()
        assert [] == found(look("backlog"))
        assert [] == found(look("failed-rows"))
        assert [] == found(outbox.has_no_abandoned_claims())
        assert [] == found(outbox.is_pruned())

    def test_lag(self):
        """
        Due rows that aren't published are a finding.
        """
        announce(count=3)
        assert re.fullmatch("3 notifications wait, the oldest for . s", look("backlog"))
        sql(f"UPDATE {OUTBOX} SET created_at = now() - interval '10 minutes'")
        finding = one(look("backlog"))
        assert "3 notifications wait, the oldest for 10 min." == finding.what
        assert finding.is_grave

    def test_rows_that_wait_for_another_attempt(self):
        """
        Rows that wait for another attempt are a finding, as on the dashboard.
        """
        announce()
        sql(
            f'UPDATE {OUTBOX} SET "offset" = 1, claims = 1, attempts = 1,'
            " available_at = now() + interval '1 hour'"
        )
        assert ["1 notification could not be rendered or published, and will be retried."] == found(
            look("backlog")
        )

    def test_a_removed_type(self):
        """
        Rows of an unregistered type are a finding, with the command that deletes them.
        """
        assert [] == found(look("types"))
        NotificationOutbox.objects.create(
            stream="gadget:1", shard=5, event="X", object_type="gadget"
        )
        finding = one(look("types"))
        assert finding.what.startswith(
            "1 notification of the object type 'gadget' waits, the oldest for "
        )
        assert "prune --object-type gadget`" in finding.cure

    def test_failed_rows(self):
        """
        Failed rows are a finding that names their causes; replayed ones are not.
        """
        announce(count=3)
        sql(
            f"UPDATE {OUTBOX} SET \"offset\" = id, failed_at = now() - interval '40 days',"
            " error_type = 'KeyError', error_fingerprint = 'x'"
        )
        finding = one(look("failed-rows"))
        assert finding.what.startswith(
            "3 notifications failed more than a day ago, not replayed yet. 3 of KeyError since "
        )
        assert not finding.is_grave
        sql(f"UPDATE {OUTBOX} SET replayed_at = now()")
        assert "none (3 were replayed)" == look("failed-rows")

    def test_an_abandoned_claim(self):
        """
        An abandoned claim, and a row that kills its workers, are findings.
        """
        announce()
        sql(f'UPDATE {OUTBOX} SET "offset" = 1, claims = 5')
        claim = Claim.objects.create(shard=3, rows=[1, 2])
        sql("UPDATE pillarbox_claim SET claimed_at = now() - interval '5 minutes'")
        left, kills = outbox.has_no_abandoned_claims()
        assert "Shard 3 has had 2 claimed rows for 5 min." == left.what
        assert kills.what.startswith("5 workers died while they had row ")
        claim.delete()

    def test_a_row_whose_rendering_kills_workers(self):
        """
        A row that kills workers before it has an offset is a finding, too.
        """
        announce()
        sql(f"UPDATE {OUTBOX} SET payload = NULL, claims = 5")
        finding = one(outbox.has_no_abandoned_claims())
        assert finding.what.startswith("5 workers died while they had row ")

    def test_missing_pruning(self, settings):
        """
        Published rows past their retention are a finding.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"RETENTION_SECONDS": 3600}
        announce()
        sql(f"UPDATE {OUTBOX} SET \"offset\" = 1, published_at = now() - interval '1 day'")
        assert (
            "Old rows aren't pruned: the oldest published row is 1.0 days old"
            in one(outbox.is_pruned()).what
        )


def test_settings(settings):
    """
    Each message of the system checks is a finding, with its id and hint.
    """
    settings.PILLARBOX = {"SLOW_SECONDS": 50, "PUBLISH_SECONDS": 2}
    outcome = configuration.passes_system_checks()
    by_id = {finding.what.partition(":")[0]: finding for finding in outcome}
    assert by_id["pillarbox.E102"].is_grave
    assert not by_id["pillarbox.W102"].is_grave
    assert "4503" in by_id["pillarbox.W102"].cure
