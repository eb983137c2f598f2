"""A TRUNCATE of a table renews the epochs of its types' streams."""

import pytest

from pillarbox.models import NotificationOutbox, Stream
from pillarbox.stream.locks import numbering_lock
from pillarbox.stream.rendering.batches.due_shards import shards_to_render
from pillarbox.stream.rendering.renderer import render_batch
from tests.database import elsewhere
from tests.rendering import USING, render_all
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def epochs(db):
    """Return the epoch of each stream."""
    for name in ("card:1", "cardigan:1", "item:1", "shelf.items:1"):
        Stream.objects.create(name=name, shard=3)
    NotificationOutbox.objects.all().delete()
    return lambda: dict(Stream.objects.values_list("name", "incarnation"))


def test_begins_new_epochs(epochs, execute):
    """
    Streams and collections of the table's types get new epochs, other streams don't. No row stays.
    """
    before = epochs()
    execute("TRUNCATE library_card")
    assert ["card"] == list(NotificationOutbox.objects.values_list("object_type", flat=True))
    render_all()
    assert {"card:1"} == {name for name, mark in epochs().items() if mark != before[name]}
    execute("TRUNCATE library_item CASCADE")
    render_all()
    assert {"cardigan:1"} == {name for name, mark in epochs().items() if mark == before[name]}
    assert not NotificationOutbox.objects.exists()


def test_a_stream_that_is_busy(epochs, execute, settings):
    """
    While another process numbers a shard, the row waits for the next time. No death is counted.
    """
    execute("TRUNCATE library_card")
    (shard,) = shards_to_render(**USING)
    settings.PILLARBOX = (unhurried := settings.PILLARBOX) | {"LOCK_IDLE_SECONDS": PATIENCE}
    with elsewhere(numbering_lock(3, **USING)):
        settings.PILLARBOX = unhurried | {"LOCK_IDLE_SECONDS": 1.0}  # long enough to take the row
        assert 0 == render_batch(shard, **USING)
    assert 0 == NotificationOutbox.objects.get().claims
    settings.PILLARBOX = unhurried
    assert 1 == render_batch(shard, **USING)
    assert not NotificationOutbox.objects.exists()


def test_with_the_outbox(epochs, execute):
    """
    A statement that also truncates the outbox, such as a flush, succeeds and leaves no row.
    """
    execute("TRUNCATE library_card, pillarbox_notificationoutbox RESTART IDENTITY CASCADE")
    assert not NotificationOutbox.objects.exists()
