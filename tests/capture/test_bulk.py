"""Bulk writes are announced row by row, as the database stored them."""

import threading
import uuid

import pytest
from django.db import connections, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from apps.tickets.models import Project, Ticket
from pillarbox.models import NotificationOutbox
from tests.database import payloads, wait_for_a_waiting_lock
from tests.library.live import ItemType
from tests.library.models import Book, Card, Item, Shelf
from tests.registration import unregistered

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def items():
    shelf = Shelf.objects.create(name="s")
    items = Item.objects.bulk_create([Item(title=str(n), count=n, shelf=shelf) for n in range(3)])
    NotificationOutbox.objects.all().delete()
    return items


def test_an_update_shows_the_stored_row(items):
    """
    The payload has what the database computed.
    """
    Item.objects.update(count=F("count") + 10, title=Concat(F("title"), Value("!")))
    shown = [(p["count"], p["title"]) for p in payloads(stream__startswith="item:")]
    assert [(10, "0!"), (11, "1!"), (12, "2!")] == shown


def test_an_update_takes_the_rows_that_it_names(items):
    """
    A subquery that selects rows at random runs only once, in the statement itself.
    """
    for title in "abcdef":
        NotificationOutbox.objects.all().delete()
        found = Item.objects.order_by("?").values("pk")[:1]
        Item.objects.filter(pk__in=found).update(title=title)
        changed = Item.objects.filter(title=title).values_list("pk", flat=True)
        assert [f"item:{pk}" for pk in changed] == list(
            NotificationOutbox.objects.filter(stream__startswith="item:").values_list(
                "stream", flat=True
            )
        )


def test_an_update_finds_rows_hidden_by_managers():
    """
    A row that the base manager leaves out is announced like any other.
    """
    card = Card.objects.create(number=1, scratches=100)
    for change in (
        lambda: None,
        lambda: Card.objects.update(colour="blue"),
        lambda: Card.objects.all().delete(),
    ):
        change()
        payloads()
    rows = NotificationOutbox.objects.filter(object_id=str(card.pk)).order_by("id")
    shown = [(row.event[:6], row.payload.get("colour")) for row in rows]
    assert [("CREATE", "red"), ("UPDATE", "blue"), ("DELETE", None)] == shown


def test_bulk_create_shows_the_stored_row():
    """
    The payload has a value as the column converted it.
    """
    Item.objects.bulk_create([Item(title="a", price="1.5", notes={1: "x"}), Item(title="b")])
    shown = [(p["title"], p["price"], p["notes"]) for p in payloads(object_type="item")]
    assert sorted([("a", "1.50", {"1": "x"}), ("b", "0.00", {})]) == sorted(shown)


def test_bulk_create_has_one_event_for_each_object():
    """
    The notifications of one object's change share an event id; other objects have other ids.
    """
    project = Project.objects.create(name="p")
    Ticket.objects.bulk_create([Ticket(project=project, title=title) for title in "ab"])
    rows = NotificationOutbox.objects.filter(event="CREATE_TICKET")
    assert 2 == rows.values("event_id").distinct().count()
    assert 4 == rows.count()


def test_bulk_create_of_a_parent_is_no_change_of_a_child():
    """
    If only a child is live, inserting rows of the parent's table alone announces nothing.
    """
    with unregistered(ItemType):
        Item.objects.bulk_create([Item(title="a")])
        assert [] == payloads()


def test_keys_may_be_given_as_text():
    """
    A key given as text is announced as the database stored it.
    """
    pk = uuid.uuid4()
    Card.objects.bulk_create([Card(pk=str(pk), number=1)])
    Card.objects.filter(pk=str(pk)).update(colour="blue")
    rows = NotificationOutbox.objects.order_by("id").values_list("stream", "event")
    assert [(f"card:{pk}", "CREATE_CARD"), (f"card:{pk}", "UPDATE_CARD")] == list(rows)


def test_a_child_is_read_with_its_parent():
    """
    An update of a parent's column shows in the child, and the other way round.
    """
    book = Book.objects.create(title="b", pages=1)
    payloads()
    NotificationOutbox.objects.all().delete()
    Item.objects.filter(pk=book.pk).update(title="c")
    assert [("c", 1)] == [(p["title"], p["pages"]) for p in payloads(object_type="book")]
    Book.objects.update(pages=2)
    assert ("c", 2) == tuple(payloads(object_type="book")[-1][key] for key in ("title", "pages"))
    assert ["c"] == [p["title"] for p in payloads(stream=f"item:{book.pk}")]


def save_each(rows):
    for row in rows:
        row.save(update_fields=["count"])


def save_together(rows):
    Item.objects.bulk_update(rows, ["count"])


@pytest.mark.parametrize("save", [save_each, save_together])
def test_rows_that_another_transaction_has_locked(items, save):
    """
    A write that waits for another transaction's locks is announced after that transaction's change.
    """

    def add():
        Item.objects.update(count=F("count") + 10)
        connections.close_all()

    thread = threading.Thread(target=add)
    with transaction.atomic():
        locked = list(Item.objects.select_for_update())
        thread.start()
        wait_for_a_waiting_lock()
        for item in locked:
            item.count += 100
        save(locked)
    thread.join()
    for number, item in enumerate(items):
        counts = [payload["count"] for payload in payloads(stream=f"item:{item.pk}")]
        assert [number + 100, number + 110] == counts
