"""Rows that other objects show: a change of a shown column is an update of these objects."""

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, models
from django.test import Client
from model_utils import FieldTracker
from rest_framework import serializers

from apps.tickets.live import ProjectType
from apps.tickets.models import Ticket
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.types.registry import ObjectType
from tests.library.live import BookType, ItemType, ShelfType, VolumeType
from tests.library.models import (
    Book,
    Editor,
    Item,
    Pass,
    Reader,
    Series,
    SeriesTag,
    Shelf,
    Tag,
    Volume,
)
from tests.registration import live_model, registered

pytestmark = pytest.mark.django_db(transaction=True)


def _save(row, name, value):
    setattr(row, name, value)
    row.save()


def _update(row, name, value):
    type(row).objects.filter(pk=row.pk).update(**{name: value})


def _sql(row, name, value):
    with connection.cursor() as cursor:
        table, key = row._meta.db_table, row._meta.pk.column
        cursor.execute(f"UPDATE {table} SET {name} = %s WHERE {key} = %s", [value, row.pk])


#: Ways to change a column of a row.
WRITES = pytest.mark.parametrize("write", [_save, _update, _sql])


@pytest.fixture
def clean():
    """Return a function that deletes the rows of the outbox."""
    return NotificationOutbox.objects.all().delete


@pytest.fixture
def updates(rendered):
    """Return a function that renders, and returns the last payload in each stream with a row."""

    def updates(**lookup):
        found = rendered(**lookup)
        assert {"UPDATE"} >= {event.partition("_")[0] for _, event, _ in found}
        return {stream: payload for stream, _, payload in found}

    return updates


class TestUsers:
    @pytest.fixture
    def assigned(self, ticket, demo, other, clean):
        """Assign the ticket to demo, and another one to somebody else."""
        Ticket.objects.create(project=ticket.project, title="Another", assignee=other)
        Ticket.objects.filter(pk=ticket.pk).update(assignee=demo)
        clean()

    @WRITES
    def test_a_new_name_of_an_assignee(self, assigned, ticket, demo, updates, write):
        """
        Tickets of a renamed assignee are announced, in their own stream and in their project's.
        """
        write(demo, "username", "grace")
        found = updates(object_type="ticket")
        assert {f"ticket:{ticket.pk}", f"project.tickets:{ticket.project_id}"} == found.keys()
        assert {"grace"} == {payload["assignee"] for payload in found.values()}

    @WRITES
    def test_a_new_name_of_a_member(self, project, demo, other, clean, updates, write):
        """
        Projects of a renamed member are announced, and no others.
        """
        clean()
        write(demo, "username", "grace")
        assert [["grace"]] == [p["members"] for p in updates(object_type="project").values()]
        write(other, "username", "ada")
        assert 1 == len(updates(object_type="project"))

    @WRITES
    def test_other_columns_say_nothing(self, assigned, demo, write):
        """
        Only shown columns count, so that a sign-in announces nothing.
        """
        write(demo, "last_name", "Hopper")
        Client().force_login(demo)
        assert not NotificationOutbox.objects.exclude(stream=RIGHTS).exists()

    def test_a_user_who_comes_or_goes(self, assigned, ticket, demo):
        """
        A new user is shown by nothing. A deleted one leaves the tickets, each of which changes itself.
        """
        get_user_model().objects.create_user("new").delete()
        assert not NotificationOutbox.objects.exclude(object_type__startswith="rights").exists()
        demo.delete()
        rows = NotificationOutbox.objects.filter(object_type="ticket")
        assert {str(ticket.pk)} == set(rows.values_list("object_id", flat=True))

    def test_a_name_that_thousands_of_objects_show(self, project, demo, clean, updates):
        """
        The writer writes one row. Rendering adds one for each object.
        """
        count = 1500
        Ticket.objects.bulk_create(Ticket(project=project, assignee=demo) for _ in range(count))
        clean()
        _update(demo, "username", "grace")
        assert 1 == NotificationOutbox.objects.filter(object_type="ticket").count()
        found = updates(object_type="ticket", stream__startswith="ticket:")
        assert (count, {"grace"}) == (
            len(found),
            {payload["assignee"] for payload in found.values()},
        )


def _move(item):
    _update(item, "shelf", Shelf.objects.get(name="b"))


class TestSeveralRelations:
    """A shelf shows its items' tags, an item its shelf's readers."""

    @pytest.fixture(autouse=True)
    def types(self, db):
        with registered(
            type("DeepShelf", (ShelfType,), {"shows": ("items__tags__name",), "payload": _tags}),
            type(
                "DeepItem", (ItemType,), {"shows": ("shelf__readers__name",), "payload": _readers}
            ),
        ):
            yield

    @pytest.fixture
    def item(self, clean):
        shelf, other = (Shelf.objects.create(name=name) for name in "ab")
        item = Item.objects.create(title="a", shelf=shelf)
        item.tags.add(Tag.objects.create(name="old"))
        Pass.objects.create(shelf=shelf, reader=Reader.objects.create(name="Ann"))
        Item.objects.create(title="b", shelf=other).tags.add(Tag.objects.create(name="other"))
        clean()
        return item

    @WRITES
    def test_of_the_last_rows(self, item, updates, write):
        """
        A new name of a tag changes the shelf, and one of a reader the item.
        """
        write(item.tags.get(), "name", "new")
        assert {f"shelf:{item.shelf_id}": ["new"]} == updates(object_type="shelf")
        write(Reader.objects.get(), "name", "Bob")
        assert {"Bob"} == {payload[0] for payload in updates(object_type="item").values()}

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda item: item.tags.clear(), {"a": []}),
            (lambda item: item.tags.first().items.clear(), {"a": []}),
            (lambda item: item.tags.get().delete(), {"a": []}),
            (lambda item: item.tags.create(name="zoo"), {"a": ["old", "zoo"]}),
            (lambda item: item.delete(), {"a": []}),
            (_move, {"a": [], "b": ["old", "other"]}),
        ],
    )
    def test_of_relations(self, item, updates, change, expected):
        """
        A row that joins or leaves a relation on the way changes the objects at its beginning.
        """
        names = {f"shelf:{shelf.pk}": shelf.name for shelf in Shelf.objects.all()}
        change(item)
        found = updates(object_type="shelf")
        assert expected == {names[stream]: sorted(tags) for stream, tags in found.items()}

    def test_of_columns_that_are_not_shown(self, item, updates):
        """
        A shelf doesn't show its items' titles.
        """
        _update(item, "title", "new")
        assert {} == updates(object_type="shelf")


def _tags(self, shelf):
    return [tag.name for item in shelf.items.all() for tag in item.tags.all()]


def _readers(self, item):
    return [reader.name for reader in item.shelf.readers.all()]


class TestForeignKeys:
    @WRITES
    def test_to_another_column(self, clean, updates, write):
        """
        Foreign keys and relations may refer to another column than the primary key.
        """
        series, tag = Series.objects.create(code="x"), Tag.objects.create(name="old")
        SeriesTag.objects.create(series=series, tag=tag)
        volume = Volume.objects.create(title="a", series=series)
        shows = {"shows": ("series__tags__name",), "payload": lambda _, volume: volume.series.code}
        with registered(type("DeepVolume", (VolumeType,), shows)):
            clean()
            write(tag, "name", "new")
            assert {f"volume:{volume.pk}": "x"} == updates(object_type="volume")

    @WRITES
    def test_to_another_column_of_the_shown_row(self, demo, clean, updates, write):
        """
        The shown row is found by its primary key, whatever the foreign key refers to.
        """
        editor = Editor.objects.create(series=Series.objects.create(code="x"), user=demo)
        names = {
            "name": "editor",
            "serializer_class": _serializer(Editor, "id"),
            "shows": ("user__email",),
            "payload": lambda _, editor: editor.user.email,
        }
        with registered(type("EditorType", (ObjectType,), names)):
            clean()
            write(demo, "email", "demo@example.org")
            assert {f"editor:{editor.pk}": "demo@example.org"} == updates(object_type="editor")

    @WRITES
    def test_on_the_way_to_another_row(self, clean, updates, write):
        """
        A shown foreign key of a shown row counts.
        """
        ann, bob = (Reader.objects.create(name=name) for name in ("Ann", "Bob"))
        shelf = Shelf.objects.create(name="s")
        item = Item.objects.create(title="a", shelf=shelf, borrower=ann)
        tag = Tag.objects.create(name="t")
        tag.items.add(item)
        names = {
            "name": "tag",
            "serializer_class": _serializer(Tag, "name"),
            "shows": ("items__borrower__name",),
            "payload": lambda _, tag: [item.borrower.name for item in tag.items.all()],
        }
        with registered(type("TagType", (ObjectType,), names)):
            clean()
            write(item, "borrower_id", bob.pk)
            assert {f"tag:{tag.pk}": ["Bob"]} == updates(object_type="tag")
            write(bob, "name", "Bo")
            assert {f"tag:{tag.pk}": ["Bo"]} == updates(object_type="tag")

    @WRITES
    def test_in_columns_with_other_names(self, clean, updates, write):
        """
        Relations and columns may have other names in the database.
        """
        fields = {
            "reader": models.ForeignKey(
                Reader, models.CASCADE, db_column="who", related_name="things"
            )
        }
        with live_model(label=models.CharField(max_length=9, db_column="text"), **fields) as model:
            names = {
                "name": "reader",
                "serializer_class": _serializer(Reader, "name"),
                "shows": ("things__label",),
                "payload": lambda _, reader: [thing.label for thing in reader.things.all()],
            }
            with registered(type("ReaderType", (ObjectType,), names)):
                ann, bob = (Reader.objects.create(name=name) for name in ("Ann", "Bob"))
                thing = model.objects.create(reader=ann, label="old")
                clean()
                write(thing, "text" if write is _sql else "label", "new")
                assert {f"reader:{ann.pk}": ["new"]} == updates(object_type="reader")
                thing.refresh_from_db()
                clean()
                write(thing, "who" if write is _sql else "reader_id", bob.pk)
                assert {f"reader:{ann.pk}": [], f"reader:{bob.pk}": ["new"]} == updates(
                    object_type="reader"
                )

    def test_that_no_tracker_tracks(self, clean, updates):
        """
        A foreign key with which a path begins counts, also if the tracker leaves it out.
        """
        reader = models.ForeignKey(Reader, models.CASCADE, related_name="+")
        with live_model(reader=reader, tracker=FieldTracker(["id"])) as model:
            serializer = _serializer(model, "reader")
            names = {"name": "thing", "serializer_class": serializer, "shows": ("reader__name",)}
            with registered(type("ThingType", (ObjectType,), names)):
                ann, bob = (Reader.objects.create(name=name) for name in ("Ann", "Bob"))
                thing = model.objects.create(reader=ann)
                clean()
                _update(thing, "reader", bob)
                assert {f"thing:{thing.pk}": {"reader": bob.pk}} == updates(object_type="thing")


class TestSeveralTables:
    @WRITES
    def test_of_the_shown_row(self, clean, updates, write):
        """
        A column of a shown row may be in any of the row's tables.
        """
        book = Book.objects.create(title="a", pages=1)
        shows = {
            "shows": ("book__pages", "book__count"),
            "payload": lambda _, item: [item.book.pages, item.book.count],
        }
        with registered(type("ItemWithPages", (ItemType,), shows)):
            clean()
            write(book, "pages", 2)
            assert {f"item:{book.pk}": [2, 0]} == updates(object_type="item")

    @WRITES
    def test_of_the_showing_object(self, clean, updates, write):
        """
        An object in several tables may show rows, and be found by a key in any of its tables.
        """
        ann, tag = Reader.objects.create(name="Ann"), Tag.objects.create(name="t")
        book = Book.objects.create(title="a", borrower=ann)
        book.tags.add(tag)
        shows = {
            "shows": ("borrower__name", "tags__name", "item_ptr__title"),
            "payload": lambda _, book: [book.borrower.name, [tag.name for tag in book.tags.all()]],
        }
        with registered(type("ShowingBook", (BookType,), shows)):
            clean()
            write(ann, "name", "Bob")
            assert {f"book:{book.pk}": ["Bob", ["t"]]} == updates(object_type="book")
            write(tag, "name", "u")
            assert {f"book:{book.pk}": ["Bob", ["u"]]} == updates(object_type="book")

    @WRITES
    def test_of_which_everything_is_shown(self, clean, updates, write):
        """
        Everything of a row is what its own type announces, in all its tables.
        """
        book = Book.objects.create(title="a", pages=1)
        tag = Tag.objects.create(name="t")
        shows = {
            "shows": ("book__*",),
            "payload": lambda _, item: [item.book.title, item.book.pages],
        }
        book_type = type("TaggedBook", (BookType,), {"shows": ("tags__name",)})
        with registered(type("ItemWithBook", (ItemType,), shows), book_type):
            clean()
            write(book, "pages", 2)
            assert {f"item:{book.pk}": ["a", 2]} == updates(object_type="item")
            clean()
            book.tags.add(tag)
            assert {f"item:{book.pk}": ["a", 2]} == updates(object_type="item")

    def test_of_which_everything_is_shown_that_a_tracker_tracks(self, ticket, clean, updates):
        """
        If the type of the rows has a tracker, the tracked fields count.
        """
        names = {"shows": ("tickets__*",), "payload": lambda _, project: project.tickets.count()}
        with registered(type("ProjectWithTickets", (ProjectType,), names)):
            clean()
            _update(ticket, "modified", ticket.created)
            assert {} == updates()
            _update(ticket, "title", "new")
            assert {f"project:{ticket.project_id}": 1} == updates(object_type="project")


def _serializer(model, *fields):
    meta = type("Meta", (), {"model": model, "fields": fields})
    return type("Serializer", (serializers.ModelSerializer,), {"Meta": meta})
