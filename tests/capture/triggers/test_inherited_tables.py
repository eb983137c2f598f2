"""An object with rows in several tables is announced once in each stream, whichever table changes."""

import pytest
from django.db import DEFAULT_DB_ALIAS, models, transaction

from pillarbox.capture.triggers.installation import install
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.types.registry import object_type, register, unregister
from tests.library.live import BookType
from tests.library.models import Book, Item, Shelf
from tests.registration import live_model, registered

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def shelved(django_db_setup, django_db_blocker):
    """Announce books in a collection whose key is a column of the ancestor's table."""
    unregister("book")
    register(type("ShelvedBookType", (BookType,), {"collections": {"shelf.books": "shelf"}}))
    with django_db_blocker.unblock():
        install(using=DEFAULT_DB_ALIAS)
    yield
    unregister("book")
    register(BookType)
    with django_db_blocker.unblock():
        install(using=DEFAULT_DB_ALIAS)


@pytest.fixture
def book():
    """Create a book on a shelf, and empty the outbox."""
    book = Book.objects.create(title="a", shelf=Shelf.objects.create(name="one"))
    NotificationOutbox.objects.all().delete()
    return book


@pytest.fixture
def shelf(book):
    """Create another shelf."""
    shelf = Shelf.objects.create(name="two")
    NotificationOutbox.objects.all().delete()
    return shelf


@pytest.fixture
def seen(rendered):
    """Return a function that returns the streams and events of books, and empties the outbox."""

    def seen():
        found = sorted(
            (stream, event)
            for stream, event, _ in rendered(object_type="book", transaction__isnull=False)
        )
        NotificationOutbox.objects.all().delete()
        return found

    return seen


def of(book, *shelves, verb="UPDATE"):
    """Return the announcements about a book: in its own stream, and by collection."""
    places = [f"book:{book}", *(f"shelf.books:{shelf}" for shelf in shelves)]
    return [(place, f"{verb}_BOOK") for place in places]


def test_creation(seen):
    """
    The own stream and the collection of a new book each get one CREATE.
    """
    book = Book.objects.create(title="a", shelf=Shelf.objects.create(name="one"))
    assert of(book.pk, book.shelf_id, verb="CREATE") == seen()


def test_deletion(book, seen):
    """
    The own stream and the collection of a deleted book each get one DELETE.
    """
    pk, shelf = book.pk, book.shelf_id
    book.delete()
    assert of(pk, shelf, verb="DELETE") == seen()


@pytest.mark.parametrize(
    "values", [{"title": "b"}, {"pages": 9}, {"title": "b", "pages": 9}], ids=str
)
def test_a_change(book, values, seen):
    """
    A change of either table, or of both in one save, is one UPDATE.
    """
    vars(book).update(values)
    book.save()
    assert of(book.pk, book.shelf_id) == seen()


def test_two_changes(book, execute, seen):
    """
    Two transactions are two UPDATEs.
    """
    for title in "bc":
        execute("UPDATE library_item SET title = %s", title)
    assert sorted([*of(book.pk, book.shelf_id)] * 2) == seen()


@pytest.mark.parametrize("pages", [0, 9])
def test_a_move(book, shelf, pages, rendered):
    """
    A book that moves leaves one collection and enters another. Its own stream has a move.
    """
    left = book.shelf_id
    book.shelf, book.pages = shelf, pages
    book.save()
    rendered()
    rows = NotificationOutbox.objects.filter(object_type="book", transaction__isnull=False)
    rows = rows.exclude(stream=RIGHTS).order_by("stream")
    assert sorted(
        [
            (f"book:{book.pk}", "UPDATE_BOOK", True),
            (f"shelf.books:{left}", "DELETE_BOOK", False),
            (f"shelf.books:{shelf.pk}", "CREATE_BOOK", False),
        ]
    ) == list(rows.values_list("stream", "event", "is_move"))
    assert not NotificationOutbox.objects.filter(payload__isnull=True).exists()


def ends():
    """Return the distinct ends of rights by type and id, and empty the outbox."""
    rows = NotificationOutbox.objects.filter(stream=RIGHTS)
    found = {(row.object_type, row.object_id) for row in rows}
    rows.delete()
    return found


def test_rights_end_by_a_move(book, shelf):
    """
    Only a move may end rights to a book, not another change or a deletion.
    """
    Book.objects.update(title="b", pages=9)
    assert set() == ends()
    Book.objects.update(shelf=shelf)
    assert {("book", str(book.pk)), ("item", str(book.pk))} == ends()
    book.delete()
    assert set() == ends()


def test_rights_to_objects_of_a_book_end_by_its_deletion(book):
    """
    If other objects are visible through books, a book's deletion may end rights, too.
    """
    pk = book.pk
    with live_model(book=models.ForeignKey(Book, models.CASCADE)):
        kind = type(object_type("thing"))
        with registered(type("OfBooks", (kind,), {"collections": {"book.things": "book"}})):
            Book.objects.update(title="b", pages=9)
            assert set() == ends()
            book.delete()
            assert {("book", str(pk))} == ends()


def test_into_a_collection_and_out_of_it(book, seen):
    """
    A book without a shelf is announced in its own stream only.
    """
    shelf, own = book.shelf, of(book.pk)
    Book.objects.update(shelf=None)
    assert [*own, *of(book.pk, shelf.pk, verb="DELETE")[1:]] == seen()
    Book.objects.update(shelf=shelf)
    assert [*own, *of(book.pk, shelf.pk, verb="CREATE")[1:]] == seen()


def test_moves_of_one_transaction(book, shelf, seen):
    """
    Each collection that the book was in meanwhile gets at most a DELETE, and the last one has the book.
    """
    home = book.shelf_id
    with transaction.atomic():
        Book.objects.update(shelf=shelf)
        Book.objects.update(shelf=home)
    found = dict(seen())
    assert "UPDATE_BOOK" == found[f"shelf.books:{home}"]
    assert found.get(f"shelf.books:{shelf.pk}") in (None, "DELETE_BOOK")
    with transaction.atomic():
        Book.objects.update(shelf=shelf)
        Book.objects.update(title="b")
    assert {
        f"book:{book.pk}": "UPDATE_BOOK",
        f"shelf.books:{home}": "DELETE_BOOK",
        f"shelf.books:{shelf.pk}": "CREATE_BOOK",
    } == dict(seen())


@pytest.mark.parametrize("is_one", [True, False], ids=["one transaction", "two transactions"])
def test_a_move_and_a_deletion(book, shelf, is_one, execute, seen):
    """
    A book that moved and was then deleted leaves no row in the collection in between.
    """
    home, pk = book.shelf_id, book.pk
    with transaction.atomic() if is_one else transaction.get_connection().cursor():
        execute("UPDATE library_item SET shelf_id = %s", shelf.pk)
        execute("DELETE FROM library_book")
        execute("DELETE FROM library_item")
    expected = of(pk, home, shelf.pk, verb="DELETE")
    assert sorted(expected) == seen()


def test_a_creation_and_a_deletion(book, seen):
    """
    A book that one transaction creates and deletes has no rows.
    """
    with transaction.atomic():
        Book.objects.create(title="b", shelf=book.shelf).delete()
    assert [] == seen()


def test_an_item_that_is_not_a_book(book, shelf, seen):
    """
    An item that is not a book is not announced as a book.
    """
    item = Item.objects.create(title="b", shelf=shelf)
    Item.objects.filter(pk=item.pk).update(shelf=book.shelf)
    seen()
    item.delete()
    assert [] == seen()


def test_an_item_that_becomes_a_book(book, shelf, execute, seen):
    """
    An item that becomes a book enters the collection. If it stops being a book, it leaves it.
    """
    item = Item.objects.create(title="b", shelf=shelf)
    assert [] == seen()
    execute("INSERT INTO library_book VALUES (%s, 7)", item.pk)
    assert of(item.pk, shelf.pk, verb="CREATE") == seen()
    execute("DELETE FROM library_book WHERE item_ptr_id = %s", item.pk)
    assert of(item.pk, shelf.pk, verb="DELETE") == seen()
