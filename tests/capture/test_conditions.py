"""Conditions of types: a row outside of `where` is no object, as if it were deleted."""

from contextlib import contextmanager

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, models
from django.db.models import F, Q
from django.db.models.functions import Length, Upper
from django.test.utils import register_lookup
from django.utils import timezone

from pillarbox.capture.triggers.installation import differences
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.types.registry import ObjectType, object_type
from tests.database import payloads
from tests.library.live import ItemType, ShelfType
from tests.library.models import Item, Shelf
from tests.registration import live_model, registered
from tests.rendering import render_all

pytestmark = pytest.mark.django_db(transaction=True)


def _save(item, name, value):
    setattr(item, name, value)
    item.save()


def _update(item, name, value):
    Item.objects.filter(pk=item.pk).update(**{name: value})


def _sql(item, name, value):
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE library_item SET {name} = %s WHERE id = %s", [value, item.pk])


WRITES = pytest.mark.parametrize("write", [_save, _update, _sql])


@pytest.fixture
def kind(db):
    """Let the items with a negative count be deleted ones."""
    with registered(type("Kept", (ItemType,), {"where": Q(count__gte=0)})):
        yield


@pytest.fixture
def shelf(kind):
    return Shelf.objects.create(name="full")


@pytest.fixture
def item(shelf):
    item = Item.objects.create(title="a", shelf=shelf)
    NotificationOutbox.objects.all().delete()
    return item


@pytest.fixture
def events():
    """Return the events of items in each stream, as captured, and empty the outbox."""

    def events():
        rows = NotificationOutbox.objects.filter(object_type="item").exclude(stream=RIGHTS)
        found = sorted(
            f"{row.event.partition('_')[0]} {row.stream.partition(':')[0]}" for row in rows
        )
        NotificationOutbox.objects.all().delete()
        return found

    return events


@contextmanager
def writing_again(execute, sql, first):
    """Let a trigger of the project write the row again after an update to ``first``."""
    execute(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" {sql} WHERE id = NEW.id; RETURN NULL; END $$"
    )
    execute(
        "CREATE TRIGGER a_first AFTER UPDATE OF count ON library_item FOR EACH ROW"
        f" WHEN (NEW.count = {first}) EXECUTE FUNCTION again()"
    )
    try:
        yield
    finally:
        execute("DROP FUNCTION again CASCADE")


class TestEvents:
    @WRITES
    def test_leaving_and_coming_back(self, item, events, write):
        """
        A row that stops to fulfil the condition is deleted, and created when it fulfils it again.
        """
        write(item, "count", -1)
        assert ["DELETE item", "DELETE shelf.items"] == events()
        write(item, "title", "unseen")
        assert [] == events()
        write(item, "count", 1)
        (row,) = NotificationOutbox.objects.filter(stream=f"item:{item.pk}")
        assert "unseen" == row.image["title"]
        assert ["CREATE item", "CREATE shelf.items"] == events()
        write(item, "count", 2)
        assert ["UPDATE item", "UPDATE shelf.items"] == events()

    def test_outside_from_the_beginning(self, item, events):
        """
        A row that is inserted or deleted outside isn't announced.
        """
        other = Item.objects.create(title="b", count=-1, shelf=item.shelf)
        other.delete()
        assert [] == events()

    def test_of_an_object(self, item, events):
        """
        Insertions and deletions of objects are announced as without a condition.
        """
        item.delete()
        assert ["DELETE item", "DELETE shelf.items"] == events()
        Item.objects.create(title="b", shelf=item.shelf)
        assert ["CREATE item", "CREATE shelf.items"] == events()

    def test_of_several_rows_in_one_statement(self, item, shelf, events):
        """
        One statement may delete, create and update objects.
        """
        for title, count in (("b", -1), ("c", -5), ("d", 5)):
            Item.objects.create(title=title, count=count, shelf=shelf)
        events()
        Item.objects.update(count=4 - F("count"))
        rows = NotificationOutbox.objects.filter(object_type="item", stream__startswith="shelf")
        titles = dict(Item.objects.values_list("pk", "title"))
        assert [
            ("a", "UPDATE_ITEM"),
            ("b", "CREATE_ITEM"),
            ("c", "CREATE_ITEM"),
            ("d", "DELETE_ITEM"),
        ] == sorted((titles[int(row.object_id)], row.event) for row in rows)
        assert {"a", "b", "c"} == {row.image["title"] for row in rows if row.image}

    def test_of_a_move(self, item, events):
        """
        A row that also moves is deleted where it was, and created where it is.
        """
        other = Shelf.objects.create(name="other")
        Item.objects.update(shelf=other, count=-1)
        left = NotificationOutbox.objects.filter(stream=f"shelf.items:{item.shelf_id}")
        assert ["DELETE_ITEM"] == [row.event for row in left]
        assert ["DELETE item", "DELETE shelf.items"] == events()
        Item.objects.update(shelf=item.shelf)
        assert [] == events()
        Item.objects.update(shelf=other, count=1)
        entered = NotificationOutbox.objects.filter(stream=f"shelf.items:{other.pk}")
        assert ["CREATE_ITEM"] == [row.event for row in entered]
        assert ["CREATE item", "CREATE shelf.items"] == events()
        Item.objects.update(shelf=item.shelf)
        assert ["CREATE shelf.items", "DELETE shelf.items", "UPDATE item"] == events()

    def test_of_a_deletion_with_another_key(self, item, events):
        """
        An update of the primary key is a deletion, and a creation if the row is an object.
        """
        Item.objects.update(id=item.pk + 1, count=-1)
        assert ["DELETE item", "DELETE shelf.items"] == events()

    @pytest.mark.parametrize(
        ("first", "then", "expected"),
        [
            (-1, 5, ["CREATE item", "CREATE shelf.items", "UPDATE item", "UPDATE shelf.items"]),
            (-1, -2, ["DELETE item", "DELETE shelf.items"]),
            (7, -2, ["DELETE item"] * 2 + ["DELETE shelf.items"] * 2),
        ],
    )
    def test_of_a_trigger_that_writes_the_row_again(
        self, item, execute, events, first, then, expected
    ):
        """
        The last row of each stream says whether the row as it is now is an object.
        """
        again = f"UPDATE library_item SET count = {then}"
        with writing_again(execute, again, first=first):
            _update(item, "count", first)
        rows = NotificationOutbox.objects.filter(stream=f"item:{item.pk}").order_by("id")
        assert ("DELETE" if then < 0 else "UPDATE") == rows.last().event.partition("_")[0]
        assert expected == events()

    def test_of_a_move_that_a_trigger_repeats(self, item, execute, events):
        """
        Streams that the row was in only while it was outside get no deletion.
        """
        other = Shelf.objects.create(name="other")
        with writing_again(execute, "UPDATE library_item SET title = 'z'", first=-1):
            Item.objects.update(count=-1, shelf=other)
        rows = NotificationOutbox.objects.filter(stream=f"shelf.items:{other.pk}")
        assert not rows.exists()
        assert ["DELETE item", "DELETE shelf.items"] == events()

    def test_of_a_move_in_the_same_statement(self, item, events):
        """
        A creation after another row's move is no move.
        """
        Item.objects.create(title="b", count=-1, shelf=item.shelf)
        events()
        Item.objects.update(count=1, shelf=Shelf.objects.create(name="other"))
        rows = NotificationOutbox.objects.filter(stream__startswith="item:").order_by("id")
        assert [("UPDATE_ITEM", True), ("CREATE_ITEM", False)] == [
            (row.event, row.is_move) for row in rows
        ]

    def test_while_a_column_is_missing(self, item, execute, events):
        """
        In the middle of a migration each row counts as an object.
        """
        execute("ALTER TABLE library_item RENAME count TO number")
        try:
            execute("UPDATE library_item SET number = -1")
        finally:
            execute("ALTER TABLE library_item RENAME number TO count")
        assert ["UPDATE item", "UPDATE shelf.items"] == events()


@pytest.mark.parametrize(
    ("where", "inside", "outside"),
    [
        (Q(deleted_at=None), {"deleted_at": None}, {"deleted_at": "2026-01-01T00:00Z"}),
        (~Q(state__in=["a'b", "100%", "%s"]), {"state": "x"}, {"state": "100%"}),
        (
            ~Q(state__in=["$pillarbox$", "$pillarbox_$"]),
            {"state": "$pillarbox"},
            {"state": "$pillarbox$"},
        ),
        (Q(state__contains="%") | Q(keys=7), {"state": "5%"}, {"state": "5"}),
        (Q(keys__gt=F("number")), {"keys": 2}, {"keys": 0}),
        (Q(keys=1), {"keys": 1}, {"keys": None}),
        (Q(is_shown=True, pk__gt=0), {"is_shown": True}, {"is_shown": False}),
        (Q(state__length__gt=3), {"state": "long"}, {"state": "x"}),
        (Q(upper="A"), {"state": "a"}, {"state": "b"}),
        (Q(day__year=2026), {"day": "2026-05-01"}, {"day": "2025-05-01"}),
    ],
    ids=str,
)
def test_any_condition_over_own_columns(where, inside, outside):
    """
    A condition may use any lookup and expression. Columns may have the names of the function's variables.
    """
    fields = {
        "deleted_at": models.DateTimeField(null=True),
        "state": models.CharField(max_length=20, default="", db_column="streams"),
        "keys": models.IntegerField(null=True, default=1),
        "number": models.IntegerField(default=0),
        "day": models.DateField(null=True),
        "is_shown": models.BooleanField(default=True),
        "upper": models.GeneratedField(
            expression=Upper("state"), output_field=models.CharField(max_length=20), db_persist=True
        ),
    }
    with register_lookup(models.CharField, Length), live_model(**fields) as model:
        serializer = type(object_type("thing")).serializer_class
        names = {"name": "thing", "where": where, "serializer_class": serializer}
        with registered(type("ThingType", (ObjectType,), names)):
            thing = model.objects.create(**inside)
            model.objects.filter(pk=thing.pk).update(**outside)
            model.objects.filter(pk=thing.pk).update(**inside)
            rows = NotificationOutbox.objects.filter(object_type="thing").order_by("id")
            assert ["CREATE_THING", "DELETE_THING", "CREATE_THING"] == [row.event for row in rows]


def test_hours_are_those_of_the_project():
    """
    The time zone that is active during an installation has no effect.
    """
    with live_model(at=models.DateTimeField()):
        serializer = type(object_type("thing")).serializer_class
        names = {"name": "thing", "where": Q(at__hour=12), "serializer_class": serializer}
        with (
            registered(type("ThingType", (ObjectType,), names)),
            timezone.override("Asia/Tokyo"),
        ):
            assert [] == list(differences(using=DEFAULT_DB_ALIAS))


@pytest.mark.parametrize(
    ("where", "expected"), [(Q(pk__in=[]), []), (~Q(pk__in=[]), ["CREATE_ITEM", "CREATE_ITEM"])]
)
def test_a_condition_that_no_row_decides(where, expected):
    """
    A condition may be true, or false, for all rows.
    """
    with registered(type("Kept", (ItemType,), {"where": where})):
        Item.objects.create(title="a", shelf=Shelf.objects.create(name="full"))
        rows = NotificationOutbox.objects.filter(object_type="item")
        assert expected == [row.event for row in rows]


class TestRendering:
    def test_of_an_object_that_is_outside_by_now(self, item):
        """
        A row of an object that has left since is obsolete, as if the object were deleted.
        """
        _update(item, "title", "b")
        _update(item, "count", -1)
        render_all()
        rows = NotificationOutbox.objects.filter(stream=f"item:{item.pk}").order_by("id")
        assert [("UPDATE_ITEM", True), ("DELETE_ITEM", False)] == [
            (row.event, row.obsolete_at is not None) for row in rows
        ]

    def test_of_an_object_that_is_back(self, item):
        """
        An object that has come back is shown as each change left it.
        """
        for count in (-1, 1, 2):
            _update(item, "count", count)
        shown = payloads(stream=f"item:{item.pk}")
        assert [None, 1, 2] == [payload.get("count") for payload in shown]

    def test_of_what_it_shows(self, item, events):
        """
        A change of a row that an object outside shows is not announced.
        """
        tag = item.tags.create(name="t")
        _update(item, "count", -1)
        NotificationOutbox.objects.all().delete()
        tag.name = "new"
        tag.save()
        item.tags.clear()
        render_all()
        assert [] == events()

    def test_of_objects_that_show_it(self, item):
        """
        Objects that show everything of it are updated when it leaves.
        """
        shown = {"payload": lambda _, shelf: [shelf.items.filter(count__gte=0).count()]}
        with registered(type("Counting", (ShelfType,), shown)):
            NotificationOutbox.objects.all().delete()
            _update(item, "count", -1)
            assert [[0]] == payloads(object_type="shelf")
