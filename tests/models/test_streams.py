"""The table of streams."""

import pytest
from django.db import IntegrityError

from pillarbox.models import SHARDS, Stream


@pytest.mark.django_db
def test_a_stream_has_a_shard():
    """
    No stream is outside the range of shards.
    """
    with pytest.raises(IntegrityError, match="pillarbox_stream_shard"):
        Stream.objects.create(name="ticket:1", shard=SHARDS)
    assert "ticket:1" == str(Stream(name="ticket:1"))
