"""Tests of the part of an epoch that identifies the cluster."""

import psycopg
import pytest

from config.embedded import postgres_url
from pillarbox.database import READ_ONLY
from pillarbox.stream.epochs import CLUSTER
from tests.standby import Pair, query


@pytest.fixture
def pair():
    with Pair() as pair:
        yield pair


def in_standby(folder):
    """Return what a server says, unasked, about being a standby."""
    with psycopg.connect(postgres_url(folder)) as connection:
        return connection.info.parameter_status(READ_ONLY[0])


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
    assert ["off", "on"] == [in_standby(folder) for folder in (pair.primary, pair.standby)]
    pair.promote()
    assert before != query(pair.standby, mark)
    assert before == query(pair.primary, mark)
