"""The shards with work."""

import pytest
from django.db.models.functions import Now

from pillarbox.relay.shards_with_work import shards_with_work
from tests.relay.claims import USING, later
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)


def test_work_is_rows_to_number_and_rows_due():
    """
    Rows to number and due rows are work; waiting and settled rows are not.
    """
    make(shard=1)
    make(1, shard=2)
    make(2, shard=5, attempts=1, claims=1, available_at=later())
    make(3, shard=6, published_at=Now())
    make(4, shard=5)  # behind the one that waits
    make(1, shard=7, claims=1, stream="ticket:7")
    found = shards_with_work(using=USING)
    assert [(1, False), (2, False)] == sorted(found[:2])
    assert [(7, True)] == found[2:]
