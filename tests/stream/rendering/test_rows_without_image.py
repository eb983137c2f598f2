"""Rows without image are rendered from the current object, and never shown in another place."""

import pytest
from django.db import DEFAULT_DB_ALIAS, transaction

from pillarbox.models import NotificationOutbox, Rendering
from pillarbox.stream.rendering.batches.taking import take
from pillarbox.stream.rendering.renderer import render_batch
from tests.library.models import Book, Shelf, Tag
from tests.metrics import Metric

pytestmark = pytest.mark.django_db(transaction=True)


def own_rows(instance):
    kind = type(instance).__name__.lower()
    rows = NotificationOutbox.objects.filter(stream=f"{kind}:{instance.pk}").order_by("id")
    return [(row.event, row.is_move, row.payload) for row in rows]


def test_are_left_to_the_move_that_follows(item, rendered):
    """
    An object changed and then moved: the row of the move shows both.
    """
    shelf = Shelf.objects.create(name="new")
    item.tags.add(Tag.objects.create(name="old"))
    item.shelf = shelf
    item.save()
    rendered()
    ((event, is_move, payload),) = own_rows(item)
    assert ("UPDATE_ITEM", True) == (event, is_move)
    assert (shelf.pk, ["old"]) == (payload["shelf"], payload["tags"])


def test_stand_beside_a_move_that_they_follow(item, rendered):
    """
    A reader of a row that follows a move has read the move.
    """
    item.shelf = None
    item.save()
    item.tags.add(Tag.objects.create(name="late"))
    rendered()
    assert [True, False] == [is_move for _, is_move, _ in own_rows(item)]


def test_keep_their_offsets_if_they_come_or_go(rendered):
    """
    An object in several tables was created and deleted. Its CREATE is obsolete, its DELETE is shown.
    """
    obsolete = Metric("notifier_rows_obsolete_total")
    book = Book.objects.create(title="a")
    pk = book.pk
    Book.objects.update(pages=2)
    book.delete()
    book.pk = pk
    rendered()
    came, went = own_rows(book)
    assert ("CREATE_BOOK", False, None) == came
    assert ("DELETE_BOOK", {"id"}) == (went[0], went[2].keys())
    rows = NotificationOutbox.objects.filter(object_type="book").order_by("id")
    assert [True, False] == [row.obsolete_at is not None for row in rows]
    # The CREATE of the item is obsolete, too.
    assert 2 == obsolete.grown


def test_do_not_hide_later_rows(item, settings):
    """
    After a batch of only superfluous rows, the next batch is rendered.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"BATCH_ROWS": 2}
    assert take(3, using=DEFAULT_DB_ALIAS)  # creates the shard's record
    Rendering.objects.update(rows=[])
    with transaction.atomic():
        Book.objects.create(title="a").delete()
    item.title = "b"
    item.save()
    NotificationOutbox.objects.filter(object_type="shelf").delete()
    NotificationOutbox.objects.filter(object_type="item").exclude(object_id=item.pk).delete()
    assert ["CREATE_BOOK", "DELETE_BOOK"] == [
        row.event for row in NotificationOutbox.objects.order_by("id")[:2]
    ]
    NotificationOutbox.objects.update(shard=3)
    assert 2 == render_batch(3, using=DEFAULT_DB_ALIAS)
