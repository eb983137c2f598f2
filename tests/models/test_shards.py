"""Shards: fixed parts of all streams."""

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.models import SHARDS, shard_of


@given(st.text())
def test_every_stream_has_one_shard(stream):
    """
    Each name has one shard.
    """
    assert 0 <= shard_of(stream) < SHARDS
    assert shard_of(stream) == shard_of(stream)


def test_shards_do_not_change():
    """
    A name has the same shard in every process and version, because rows store it.
    """
    assert [3, 8, 10] == [shard_of(name) for name in ("ticket:1", "ticket:2", "project.tickets:1")]
