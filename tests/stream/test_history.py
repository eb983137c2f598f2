"""The history of streams, and their states."""

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from pillarbox.models import NotificationOutbox, Stream, shard_of
from pillarbox.stream import history
from tests.rows import make

pytestmark = pytest.mark.django_db
USING = DEFAULT_DB_ALIAS


def test_a_stream_is_created_by_the_first_read():
    """
    A stream without rows has offset zero, and keeps its epoch when the first row comes.
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
    Numbered rows of the stream after an offset come in order, up to the limit.
    """
    for offset, stream in [(3, "a:1"), (1, "a:1"), (2, "a:1"), (None, "a:1"), (2, "b:1")]:
        NotificationOutbox.objects.create(
            stream=stream, shard=0, offset=offset, event="X", object_id="1", payload={}
        )
    assert [2, 3] == [row.offset for row in history.after("a:1", 1, 10, using=USING)]
    assert [1] == [row.offset for row in history.after("a:1", 0, 1, using=USING)]


def test_moves_are_marked():
    """
    Moves are marked for rows in any state, with or without payload.
    """
    for is_move in (False, True):
        stream = f"move:{is_move}"
        make(1, stream=stream, is_move=is_move)
        make(2, stream=stream, is_move=is_move, published_at=Now())
        make(3, stream=stream, is_move=is_move, failed_at=Now(), error_type="E")
        make(4, stream=stream, is_move=is_move, claims=4)
        rows = history.after(stream, 0, 10, using=USING)
        assert [is_move] * 4 == [row.is_move for row in rows]


class TestEpoch:
    def test_is_the_same_each_time(self):
        """
        A stream's epoch doesn't change by itself, and all functions return the same.
        """
        make(1)
        epoch = history.head("ticket:1", using=USING).epoch
        assert epoch == history.head("ticket:1", using=USING).epoch
        assert [epoch] == [row.epoch for row in history.after("ticket:1", 0, 10, using=USING)]

    def test_another_incarnation_has_another(self):
        """
        A stream that was lost and created again has another epoch.
        """
        before = history.head("ticket:1", using=USING).epoch
        Stream.objects.all().delete()
        assert before != history.head("ticket:1", using=USING).epoch


class TestPayload:
    def test_is_the_text_that_is_stored(self):
        """
        A payload is returned as the stored text, without decoding.
        """
        make(1, payload={"n": 1, "text": "\u00fc"})
        (row,) = history.after("ticket:1", 0, 10, using=USING)
        assert '{"n": 1, "text": "\u00fc"}' == row.payload

    def test_of_a_failed_row_stays_in_the_database(self):
        """
        The payload of a failed row isn't loaded, so that poison doesn't reach Daphne.
        """
        make(1, failed_at=Now(), error_type="E", payload="poison")
        (row,) = history.after("ticket:1", 0, 10, using=USING)
        assert (True, None) == (row.is_skipped, row.payload)

    def test_of_a_deadly_row_stays_in_the_database(self):
        """
        A pending row with deaths isn't loaded either; published rows and rows with failed attempts
        are.
        """
        make(1, claims=4, payload="published", published_at=Now())
        make(2, claims=1, attempts=1, payload="tried")
        make(3, claims=1, payload="poison")
        rows = history.after("ticket:1", 0, 10, using=USING)
        assert ['"published"', '"tried"', None] == [row.payload for row in rows]

    def test_pages_are_bounded_in_bytes(self, settings):
        """
        A page has as many rows as BATCH_BYTES allows, at least one.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"BATCH_BYTES": 100}
        for offset in (1, 2, 3):
            make(offset, payload="x" * 60)
        assert [1, 2] == [row.offset for row in history.after("ticket:1", 0, 10, using=USING)]
        settings.PILLARBOX = settings.PILLARBOX | {"BATCH_BYTES": 1}
        assert [2] == [row.offset for row in history.after("ticket:1", 1, 10, using=USING)]
