"""Where a stream stands, and what is kept of it."""

import pytest
from django.db import DEFAULT_DB_ALIAS

from apps.outbox import history
from apps.outbox.models import NotificationOutbox, Stream, shard_of

pytestmark = pytest.mark.django_db
USING = DEFAULT_DB_ALIAS


def test_a_stream_exists_from_when_it_is_asked_for():
    """
    A stream without rows stands at zero, and keeps its epoch when the first comes.
    """
    position = history.head("ticket:1", using=USING)
    assert 0 == position.offset
    assert shard_of("ticket:1") == Stream.objects.get().shard
    Stream.objects.update(head=3)
    assert (position.epoch, 3) == (
        history.head("ticket:1", using=USING).epoch,
        history.head("ticket:1", using=USING).offset,
    )


def test_after_is_in_order_and_limited():
    """
    Numbered rows after an offset, in order, no more than asked for, and of this stream.
    """
    for offset, stream in [(3, "a:1"), (1, "a:1"), (2, "a:1"), (None, "a:1"), (2, "b:1")]:
        NotificationOutbox.objects.create(
            stream=stream, shard=0, offset=offset, event="X", object_id="1", payload={}
        )
    assert [2, 3] == [row.offset for row in history.after("a:1", 1, 10, using=USING)]
    assert [1] == [row.offset for row in history.after("a:1", 0, 1, using=USING)]
