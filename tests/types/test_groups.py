"""Names of streams and of their groups."""

from channels.layers import BaseChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.types.groups import group_for, parse_stream, stream_for


@given(st.text(st.characters(exclude_characters=":")), st.integers())
def test_a_stream_can_be_read_back(object_type, pk):
    """
    Parsing a stream's name gives its type and primary key.
    """
    assert (object_type, str(pk)) == parse_stream(stream_for(object_type, pk))


@given(st.text())
def test_every_stream_has_a_valid_group(stream):
    """
    Channels accepts the group's name of any stream.
    """
    assert BaseChannelLayer().require_valid_group_name(group_for(stream))
