"""Streams and groups: two names, translated in one place."""

from channels.layers import BaseChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from apps.realtime.groups import group_for, parse_stream, stream_for


@given(st.text(st.characters(exclude_characters=":")), st.integers())
def test_a_stream_can_be_read_back(object_type, pk):
    """
    A stream's name says whose it is.
    """
    assert (object_type, str(pk)) == parse_stream(stream_for(object_type, pk))


@given(st.text())
def test_every_stream_has_a_group_that_the_layer_takes(stream):
    """
    Whatever a stream is called, its group's name is legal.
    """
    assert BaseChannelLayer().require_valid_group_name(group_for(stream))
