"""Bulk writes are announced row by row, by a handful of statements."""

import re
import threading
import uuid

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext

from apps.outbox.exceptions import CaptureError, PayloadError
from apps.outbox.models import NotificationOutbox
from apps.realtime.registry import register, unregister
from apps.tickets.models import Project, Ticket
from tests.database import payloads, statements, wait_for_a_waiting_lock
from tests.library.live import ItemType
from tests.library.models import Book, Card, Item, Shelf, Tag

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def items():
    shelf = Shelf.objects.create(name="s")
    items = Item.objects.bulk_create([Item(title=str(n), count=n, shelf=shelf) for n in range(3)])
    NotificationOutbox.objects.all().delete()
    return items


class TestUpdate:
    def test_shows_what_is_stored(self, items):
        """
        The payload has what the database computed.
        """
        Item.objects.update(count=F("count") + 10, title=Concat(F("title"), Value("!")))
        shown = [(p["count"], p["title"]) for p in payloads(stream__startswith="item:")]
        assert [(10, "0!"), (11, "1!"), (12, "2!")] == shown

    def test_returns_what_django_returns(self, items):
        """
        The number of rows, whether they changed or not.
        """
        assert 3 == Item.objects.update(title="1")
        assert 0 == Item.objects.filter(count=99).update(title="1")

    def test_forgets_what_was_read_before(self, items):
        """
        A queryset that was evaluated reads anew after its update.
        """
        rows = Item.objects.filter(count=1)
        assert ["1"] == [item.title for item in rows]
        rows.update(title="x")
        assert ["x"] == [item.title for item in rows]

    def test_takes_any_queryset(self, items):
        """
        Joined, distinct, annotated and ordered ones, too.
        """
        items[0].tags.set(Tag.objects.bulk_create([Tag(name="a"), Tag(name="b")]))
        NotificationOutbox.objects.all().delete()
        Item.objects.filter(tags__name__in="ab").distinct().update(title="x")
        Item.objects.annotate(n=F("count") * 2).order_by("-n").update(count=F("n"))
        Item.objects.select_related("shelf").select_for_update().filter(count=4).update(count=5)
        Item.objects.distinct().select_for_update().filter(count=5).update(count=6)
        joined = Item.objects.select_related("shelf").select_for_update(of=("self", "shelf"))
        joined.filter(count=6).update(count=5)
        assert ["x"] == [p["title"] for p in payloads(stream__startswith="item:")][:1]
        assert [0, 2, 5] == sorted(Item.objects.values_list("count", flat=True))
        assert 5 == payloads(stream__startswith="item:")[-1]["count"]

    @pytest.mark.parametrize(
        ("update", "error"),
        [
            (lambda: Item.objects.all()[:2].update(title="x"), TypeError),
            (lambda: Item.objects.union(Item.objects.all()).update(title="x"), Exception),
            (lambda: Item.objects.update(nothing="x"), Exception),
            (lambda: Item.objects.update(tags=1), Exception),
        ],
        ids=["sliced", "combined", "unknown", "many-to-many"],
    )
    def test_refuses_what_django_refuses(self, items, update, error):
        """
        A mistake has Django's own message.
        """
        with pytest.raises(error) as caught:
            update()
        assert not isinstance(caught.value, CaptureError)
        assert [] == payloads()

    @pytest.mark.parametrize("name", ["id", "pk"])
    def test_refuses_a_new_primary_key(self, items, name):
        """
        An object that became another one could not be announced.
        """
        with pytest.raises(CaptureError, match="primary key of Item"):
            Item.objects.filter(pk=items[0].pk).update(**{name: 4711})

    def test_refuses_what_cannot_be_stored(self, items):
        """
        A value that can't be stored is named before any SQL.
        """
        with transaction.atomic():
            with pytest.raises(PayloadError, match=r"item\.title: .* got a str"):
                Item.objects.update(title="a\x00")
            assert 3 == Item.objects.count()

    def test_of_what_nobody_sees_costs_nothing(self):
        """
        An update of untracked columns is Django's own statement, and none more.
        """
        Card.objects.create(number=1)
        assert ["UPDATE"] == statements(lambda: Card.objects.update(scratches=1))

    def test_costs_a_handful_of_statements(self, items):
        """
        However many rows: lock, update, read back, insert.
        """
        Card.objects.bulk_create([Card(number=number) for number in range(1000)])
        found = statements(lambda: Card.objects.update(colour="blue"))
        assert ["BEGIN", "SELECT", "UPDATE", "SELECT", "COPY", "COMMIT"] == found

    def test_locks_in_the_order_of_the_keys(self, items):
        """
        Whatever order is asked for: two updates of the same rows wait for each other, not in a circle.
        """
        with CaptureQueriesContext(connection) as captured:
            Item.objects.order_by("-count").update(count=9)
        locks = [query["sql"] for query in captured if "FOR NO KEY UPDATE" in query["sql"]]
        assert locks
        assert all(re.search(r'ORDER BY "\w+"."\w*id" ASC', sql) for sql in locks)

    def test_of_what_managers_hide(self):
        """
        A row that the base manager leaves out is announced like any other.
        """
        card = Card.objects.create(number=1, scratches=100)
        Card.objects.update(colour="blue")
        Card.objects.bulk_create(
            [Card(number=1, colour="green", scratches=100)],
            update_conflicts=True,
            unique_fields=["number"],
            update_fields=["colour"],
        )
        Card.objects.all().delete()
        rows = NotificationOutbox.objects.filter(object_id=str(card.pk)).order_by("id")
        shown = [(row.event[:6], row.payload.get("colour")) for row in rows]
        assert [
            ("CREATE", "red"),
            ("UPDATE", "blue"),
            ("UPDATE", "green"),
            ("DELETE", None),
        ] == shown

    def test_waits_for_who_is_before_it(self, items):
        """
        A row that stops matching while the update waits for it is neither updated nor announced.
        """
        done = []

        def update():
            done.append(Item.objects.filter(count=1).update(title="late"))
            connections.close_all()

        thread = threading.Thread(target=update)
        with transaction.atomic():
            Item.objects.filter(count=1).update(count=7)
            thread.start()
            wait_for_a_waiting_lock()
        thread.join()
        assert [0] == done
        assert "late" not in [payload.get("title") for payload in payloads()]

    def test_leaves_out_who_comes_too_late(self, items):
        """
        A row that begins to match after the others were locked is not updated unseen.
        """

        def update():
            Item.objects.filter(count=1).update(title="late")
            connections.close_all()

        thread = threading.Thread(target=update)
        with transaction.atomic():
            Item.objects.filter(count=1).update(title="first")
            thread.start()
            wait_for_a_waiting_lock()
            Item.objects.filter(count=2).update(count=1)
        thread.join()
        shown = {payload["title"] for payload in payloads(stream=f"item:{items[2].pk}")}
        assert {Item.objects.get(pk=items[2].pk).title} == shown


class TestBulkCreate:
    def test_shows_what_is_stored(self):
        """
        What the database makes of a value is what is announced, also where the instance can't know.
        """
        Item.objects.bulk_create([Item(title="a", price="1.5", notes={1: "x"}), Item(title="b")])
        shown = [(p["title"], p["price"], p["notes"]) for p in payloads(object_type="item")]
        assert sorted([("a", "1.50", {"1": "x"}), ("b", "0.00", {})]) == sorted(shown)

    def test_costs_a_handful_of_statements(self):
        """
        A thousand objects in a collection are two thousand notifications, copied at once.
        """
        project = Project.objects.create(name="p")
        tickets = [Ticket(project=project, title=str(number)) for number in range(1000)]
        found = statements(lambda: Ticket.objects.bulk_create(tickets))
        assert ["BEGIN", "INSERT", "COPY", "COMMIT"] == found
        assert 2000 == NotificationOutbox.objects.filter(event="CREATE_TICKET").count()

    def test_has_one_event_for_each_object(self):
        """
        The notifications of one object's change share an id, those of two objects don't.
        """
        project = Project.objects.create(name="p")
        Ticket.objects.bulk_create([Ticket(project=project, title=title) for title in "ab"])
        rows = NotificationOutbox.objects.filter(event="CREATE_TICKET")
        assert 2 == rows.values("event_id").distinct().count()
        assert 4 == rows.count()

    def test_of_a_parent_of_what_is_live_is_no_change_of_it(self):
        """
        Where only a child is live, inserting rows of its parent announces nothing.
        """
        unregister("item")
        try:
            Item.objects.bulk_create([Item(title="a")])
        finally:
            register(ItemType)
        assert [] == payloads()

    def test_refuses_to_ignore_conflicts(self):
        """
        Which rows were inserted can't be known; the message says what to write instead.
        """
        with pytest.raises(CaptureError, match=r"update_conflicts=True, or announce=False"):
            Card.objects.bulk_create([Card(number=1)], ignore_conflicts=True)
        Card.objects.bulk_create([Card(number=1)], ignore_conflicts=True, announce=False)
        assert 1 == Card.objects.count()
        assert [] == payloads()

    def test_refuses_what_cannot_be_stored(self):
        """
        One value that can't be stored, and nothing is inserted.
        """
        with pytest.raises(PayloadError, match=r"item\.title"):
            Item.objects.bulk_create([Item(title="a"), Item(title="a\x00")])
        assert not Item.objects.exists()

    async def test_may_be_silent_in_async_code(self):
        """
        The async method takes the same argument.
        """
        await Card.objects.abulk_create([Card(number=1)], announce=False)
        assert 0 == await NotificationOutbox.objects.acount()
        await sync_to_async(connections.close_all)()

    def test_moves_what_it_updates(self):
        """
        A row that an upsert takes to another collection is gone where it was.
        """
        old, new = (Project.objects.create(name=name) for name in "ab")
        ticket = Ticket.objects.create(project=old, title="a")
        NotificationOutbox.objects.all().delete()
        Ticket.objects.bulk_create(
            [Ticket(pk=ticket.pk, project=new, title="b")],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["project"],
        )
        events = dict(NotificationOutbox.objects.values_list("stream", "event"))
        assert {
            f"ticket:{ticket.pk}": "UPDATE_TICKET",
            f"project.tickets:{old.pk}": "DELETE_TICKET",
            f"project.tickets:{new.pk}": "CREATE_TICKET",
        } == events
        assert "a" == payloads(stream=f"ticket:{ticket.pk}")[0]["title"]

    def test_takes_some_keys_and_makes_others(self):
        """
        With a conflict on the key, objects without one are new.
        """
        item = Item.objects.create(title="a")
        NotificationOutbox.objects.all().delete()
        Item.objects.bulk_create(
            [Item(pk=item.pk, title="b"), Item(title="c")],
            update_conflicts=True,
            unique_fields=["pk"],
            update_fields=["title"],
        )
        rows = NotificationOutbox.objects.order_by("event")
        assert [("CREATE_ITEM", "c"), ("UPDATE_ITEM", "b")] == list(
            rows.values_list("event", "payload__title")
        )

    def test_takes_one_row_twice(self):
        """
        An object whose row is updated by another of the same call is new, and announced as it then is.
        """
        made = Card.objects.bulk_create(
            [Card(number=5, colour="red"), Card(number=5, colour="blue")],
            batch_size=1,
            update_conflicts=True,
            unique_fields=["number"],
            update_fields=["colour"],
        )
        assert 2 == len(made)
        rows = NotificationOutbox.objects.values_list("event", "payload__colour")
        assert [("CREATE_CARD", "blue")] == list(rows)

    def test_takes_keys_of_another_type(self):
        """
        A key given as text is the key.
        """
        pk = uuid.uuid4()
        Card.objects.bulk_create([Card(pk=str(pk), number=1)])
        Item.objects.bulk_create([Item(pk="4711", title="a")])
        book = Book.objects.create(title="a")
        Book(pk=str(book.pk), id=str(book.pk), title="b", pages=2).save()
        streams = list(NotificationOutbox.objects.order_by("id").values_list("stream", "event"))
        assert [(f"card:{pk}", "CREATE_CARD"), ("item:4711", "CREATE_ITEM")] == streams[:2]
        assert (f"book:{book.pk}", "UPDATE_BOOK") in streams

    def test_sees_who_was_faster(self):
        """
        A row that somebody inserts while the upsert looks the other way was updated, not created.
        """
        created = []

        def upsert():
            cards = [Card(number=1, colour="blue"), Card(number=2)]
            options = {"unique_fields": ["number"], "update_fields": ["colour"]}
            created.append(Card.objects.bulk_create(cards, update_conflicts=True, **options))
            connections.close_all()

        thread = threading.Thread(target=upsert)
        with transaction.atomic():
            first = Card.objects.create(number=1)
            thread.start()
            wait_for_a_waiting_lock()
        thread.join()
        assert 2 == len(created[0])
        events = NotificationOutbox.objects.filter(object_id=str(first.pk)).order_by("id")
        assert ["CREATE_CARD", "UPDATE_CARD"] == list(events.values_list("event", flat=True))


def test_a_child_is_read_with_its_parent(items):
    """
    An update of a parent's column shows in the child, and the other way round.
    """
    book = Book.objects.create(title="b", pages=1)
    NotificationOutbox.objects.all().delete()
    Item.objects.filter(pk=book.pk).update(title="c")
    Book.objects.update(pages=2)
    shown = [(p["title"], p["pages"]) for p in payloads(object_type="book")]
    assert [("c", 1), ("c", 2)] == shown
    assert ["c"] == [p["title"] for p in payloads(stream=f"item:{book.pk}")]
