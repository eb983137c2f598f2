"""Metrics count what happened, once."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS, transaction
from prometheus_client import CollectorRegistry

from pillarbox.metrics.rows import Ages
from pillarbox.relay.claim import claim
from pillarbox.stream.numbering import number
from tests.metrics import Metric
from tests.rows import make

USING = DEFAULT_DB_ALIAS


def ago(seconds):
    """Return a time as a row's `created_at`."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TestAges:
    def test_each_row_counts_in_its_bucket(self):
        """
        Rows of one time are counted together; a time in the future counts as age zero.
        """
        registry = CollectorRegistry()
        ages = Ages("age", "Of rows.", buckets=(1, 10), registry=registry)
        ages.observe_rows([ago(2)] * 3 + [ago(100), ago(-100)])
        counts = [
            registry.get_sample_value("age_bucket", {"le": le}) for le in ("1.0", "10.0", "+Inf")
        ]
        assert [1, 4, 5] == counts
        assert 106 <= registry.get_sample_value("age_sum") < 138

    def test_nothing_is_nothing(self):
        """
        An empty batch changes nothing.
        """
        registry = CollectorRegistry()
        Ages("age", "Of rows.", buckets=(1, 10), registry=registry).observe_rows([])
        assert 0 == registry.get_sample_value("age_count")


@pytest.mark.django_db(transaction=True)
class TestCaptured:
    @pytest.mark.parametrize("give_numbers", [number, claim])
    def test_committed_rows_count_once(self, give_numbers):
        """
        Only numbering counts a row, and only once.
        """
        captured = Metric("notifier_rows_captured_total")
        make()
        make()
        for expected in (2, 0):
            give_numbers(3, using=USING)
            assert expected == captured.grown

    def test_rolled_back_rows_never_count(self):
        """
        A row that was rolled back is not counted as captured.
        """
        captured = Metric("notifier_rows_captured_total")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            make()
            raise ZeroDivisionError
        number(3, using=USING)
        assert 0 == captured.grown
