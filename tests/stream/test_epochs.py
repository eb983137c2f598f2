"""Tests of the part of an epoch that identifies the cluster."""

import pytest

from pillarbox.stream.epochs import CLUSTER
from tests.standby import Pair, query


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path)
    yield pair
    pair.stop()


def test_a_promoted_standby_has_another_mark_at_once(pair):
    """
    It doesn't wait for its first checkpoint, which may take minutes if there is much to write.
    """
    query(pair.primary, "CREATE TABLE pillarbox_stream ()")
    query(
        pair.primary, "CREATE TABLE much AS SELECT repeat('x', 500) FROM generate_series(1, 20000)"
    )
    pair.make_standby()
    query(pair.primary, "DELETE FROM much")
    pair.wait_until_it_follows()
    mark = f"SELECT {CLUSTER}"
    before = query(pair.primary, mark)
    assert before == query(pair.standby, mark)
    pair.promote()
    assert before != query(pair.standby, mark)
    assert before == query(pair.primary, mark)
