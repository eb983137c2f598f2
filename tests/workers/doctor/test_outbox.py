"""What the doctor says of rows, and of settings."""

import re

import pytest
from django.db import DEFAULT_DB_ALIAS

from apps.outbox.backlog import backlog
from apps.outbox.health import LONG_SECONDS
from apps.outbox.minutes import Rates
from apps.outbox.models import Claim
from apps.outbox.running import Running
from apps.outbox.tiles import tiles
from tests.workers.announcing import announce
from workers.doctor import configuration, outbox

from .asking import OUTBOX, found, one, sql

pytestmark = pytest.mark.django_db(transaction=True)


class TestOutbox:
    def test_sound(self):
        """
        An outbox with nothing in it, or with what has just come, is well.
        """
        announce()
        assert [] == found(outbox.keeps_up())
        assert [] == found(outbox.has_no_failed_rows())
        assert [] == found(outbox.has_no_orphans())
        assert [] == found(outbox.is_pruned())

    @pytest.mark.parametrize(("seconds", "is_grave"), [(30, False), (600, True)])
    def test_lag(self, seconds, is_grave):
        """
        What could be published and isn't is found.
        """
        announce(count=3)
        sql(f"UPDATE {OUTBOX} SET created_at = now() - make_interval(secs => %s)", seconds)
        finding = one(outbox.keeps_up())
        assert int(re.search(r"for (\d+) seconds: 3 waiting", finding.what)[1]) >= seconds
        assert is_grave == finding.is_grave

    def test_is_late_when_the_dashboard_says_so(self):
        """
        There is one threshold.
        """
        announce()
        for seconds, is_late in ((LONG_SECONDS - 8, False), (LONG_SECONDS + 2, True)):
            sql(f"UPDATE {OUTBOX} SET created_at = now() - make_interval(secs => %s)", seconds)
            assert is_late is bool(found(outbox.keeps_up()))
            waiting = backlog(using=DEFAULT_DB_ALIAS)
            late = [
                tile.is_bad for tile in tiles(waiting, Rates(captured=0, published=0), Running())
            ]
            assert is_late is late[0]

    def test_failed_rows(self):
        """
        Rows that failed are found with their causes; those that somebody replayed are not.
        """
        announce(count=3)
        sql(
            f"UPDATE {OUTBOX} SET \"offset\" = id, failed_at = now() - interval '40 days',"
            " error_type = 'KeyError', error_fingerprint = 'x'"
        )
        assert (
            "3 rows failed, 0 of them in the last day: 3 of KeyError since"
            in one(outbox.has_no_failed_rows()).what
        )
        sql(f"UPDATE {OUTBOX} SET replayed_at = now()")
        assert "none (3 were replayed)" == outbox.has_no_failed_rows()

    def test_what_a_dead_worker_left(self):
        """
        A claim that nobody sees to, and a row that kills its workers, are found.
        """
        announce()
        sql(f'UPDATE {OUTBOX} SET "offset" = 1, claims = 5')
        claim = Claim.objects.create(shard=3, rows=[1, 2])
        sql("UPDATE outbox_claim SET claimed_at = now() - interval '5 minutes'")
        left, kills = outbox.has_no_orphans()
        words = r"Shard 3 has had 2 rows in hand for (\d+) seconds\."
        assert int(re.fullmatch(words, left.what)[1]) >= 300
        assert kills.what.startswith("5 workers died with row ")
        claim.delete()

    def test_nobody_prunes(self, settings):
        """
        Rows that should be gone are found.
        """
        settings.OUTBOX = settings.OUTBOX | {"RETENTION_SECONDS": 3600}
        announce()
        sql(f"UPDATE {OUTBOX} SET \"offset\" = 1, published_at = now() - interval '1 day'")
        assert (
            "Nobody prunes: the oldest published row is 1.0 days old"
            in one(outbox.is_pruned()).what
        )


def test_settings(settings):
    """
    What the system checks complain of is a finding, with its id and hint.
    """
    settings.REALTIME, settings.OUTBOX = {"SLOW_SECONDS": 50, "PUBLISH_SECONDS": 2}, {}
    answer = configuration.has_no_complaints()
    by_id = {finding.what.partition(":")[0]: finding for finding in answer}
    assert by_id["realtime.E002"].is_grave
    assert not by_id["realtime.W002"].is_grave
    assert "4503" in by_id["realtime.W002"].cure
