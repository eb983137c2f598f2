"""Annotations of a type are in its payloads, with their present values."""

import pytest
from django.db import connection
from django.db.models import Count, F
from django.test.utils import CaptureQueriesContext
from rest_framework import serializers

from pillarbox.models import NotificationOutbox
from pillarbox.stream.rendering.renderer import render_batch
from tests.library.live import BookType
from tests.library.models import Book, Item, Tag
from tests.registration import registered
from tests.rendering import USING

pytestmark = pytest.mark.django_db(transaction=True)


class CountedSerializer(serializers.ModelSerializer):
    tag_count = serializers.IntegerField(read_only=True)
    shelf_name = serializers.CharField(read_only=True)

    class Meta:
        model = Item
        fields = ["title", "tag_count", "shelf_name"]


COUNTED = {
    "serializer_class": CountedSerializer,
    "annotations": {"tag_count": Count("tags"), "shelf_name": F("shelf__name")},
    "shows": ("tags", "shelf__name"),
}


@pytest.fixture
def shown(rendered):
    """Return a function that returns the payloads in the objects' own streams."""

    def shown(name):
        return [payload for *_, payload in rendered(stream__startswith=f"{name}:")]

    return shown


def test_are_as_they_are_when_rendered(item, item_type, execute, shown):
    """
    Own columns are as each change left them, and annotations as they are now.
    """
    item_type(**COUNTED)
    execute("UPDATE library_item SET title = 'b'")
    Item.objects.update(title="c")
    item.tags.add(Tag.objects.create(name="x"), Tag.objects.create(name="y"))
    values = {"tag_count": 2, "shelf_name": "full"}
    assert [{"title": title, **values} for title in "bcc"] == shown("item")[:3]


def test_of_an_object_in_several_tables(shown):
    """
    An object without an image has its annotations, too.
    """

    class Meta:
        model, fields = Book, ["pages", "tag_count"]

    serializer = type(
        "CountedBookSerializer", (CountedSerializer,), {"Meta": Meta, "shelf_name": None}
    )
    names = {
        "serializer_class": serializer,
        "annotations": {"tag_count": Count("tags")},
        "shows": ("tags",),
    }
    with registered(type("CountedBook", (BookType,), names)):
        Book.objects.create(title="a", pages=1).tags.add(Tag.objects.create(name="x"))
        assert {"pages": 1, "tag_count": 1} == shown("book")[-1]


def test_of_an_object_that_is_gone(item, item_type, execute, rendered):
    """
    A change of an object that was deleted since is obsolete, as without annotations.
    """
    item_type(**COUNTED)
    execute("UPDATE library_item SET title = 'b'")
    execute("DELETE FROM library_item")
    rendered()
    rows = NotificationOutbox.objects.filter(stream=f"item:{item.pk}").order_by("id")
    assert [("UPDATE_ITEM", True, None), ("DELETE_ITEM", False, None)] == [
        (row.event, row.obsolete_at is not None, row.failed_at) for row in rows
    ]


def test_cost_one_query_for_a_batch(item_type, execute):
    """
    A hundred objects need as many queries as two.
    """
    item_type(**COUNTED)
    costs = []
    for count in (1, 2, 100):  # the first run creates the shard's record
        execute(
            "INSERT INTO library_item (title, count, price, notes) SELECT 'x', 0, 0, '{}'"
            " FROM generate_series(1, %s)",
            count,
        )
        NotificationOutbox.objects.exclude(object_type="item").delete()
        NotificationOutbox.objects.update(shard=3)
        with CaptureQueriesContext(connection) as queries:
            assert count == render_batch(3, **USING)
        costs.append(len(queries))
        NotificationOutbox.objects.all().delete()
    assert costs[1] == costs[2]
