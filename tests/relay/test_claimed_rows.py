"""The rows of a claim."""

from datetime import timedelta

import pytest
from django.utils import timezone

from pillarbox.models import NotificationOutbox
from pillarbox.relay import claimed_rows
from tests.relay.claims import USING, claimed, loaded
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)


def test_too_long_a_payload_stays_in_the_database():
    """
    The row is claimed, but its payload isn't loaded; it is published as a hint.
    """
    make(1, payload={"text": "x" * 100})
    claimed()
    assert [None] == [row.payload for row in loaded(longest=50)]


def test_settle_records_the_time_and_the_claim():
    """
    A row is settled once.
    """
    make(1)
    claimed()
    rows = loaded()
    assert 1 == claimed_rows.settle(rows, using=USING)
    assert 0 == claimed_rows.settle(rows, using=USING)
    row = NotificationOutbox.objects.get()
    assert ("published", 1) == (row.state, row.claims)
    assert row.published_at <= timezone.now() + timedelta(seconds=1)
