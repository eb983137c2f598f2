"""Rows are written in the transaction of the change."""

import threading

import pytest
from django.db import ProgrammingError, connection, connections, transaction

from apps.tickets.models import Ticket
from pillarbox.models import NotificationOutbox
from tests.database import payloads, update
from tests.law import assert_law
from tests.library.models import Book, Item, Shelf, Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


class TestAtomicity:
    def test_another_connection_sees_all_or_nothing(self, ticket):
        """
        Another connection sees the change and its rows together, after the commit.
        """

        def seen():
            found = []

            def look():
                try:
                    found.extend([Ticket.objects.get().title, NotificationOutbox.objects.count()])
                finally:
                    connections.close_all()

            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            return found

        with transaction.atomic():
            ticket.title = "Changed"
            ticket.save()
            assert ["The logo is blurred", 0] == seen()
        assert ["Changed", 2] == seen()

    def test_a_savepoint_takes_its_rows_with_it(self, ticket, announced):
        """
        The rows of a rolled-back savepoint are rolled back, too.
        """
        with transaction.atomic():
            ticket.title = "Kept"
            ticket.save()
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                ticket.title = "Dropped"
                ticket.save()
                raise ZeroDivisionError
        assert update(ticket) == announced()
        assert "Kept" == payloads()[0]["title"]

    def test_without_a_transaction_a_failed_capture_takes_the_save_back(self, ticket, announced):
        """
        In autocommit, too, a failed capture rolls the save back.
        """
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE pillarbox_notificationoutbox RENAME TO away")
        try:
            ticket.title = "Changed"
            with pytest.raises(ProgrammingError, match="pillarbox_notificationoutbox"):
                ticket.save()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE away RENAME TO pillarbox_notificationoutbox")
        assert "The logo is blurred" == Ticket.objects.get().title
        assert [] == announced()


class TestComingAndGoing:
    """An object that comes and goes several times in one transaction."""

    def test_moves_there_and_back_and_there(self, shelves):
        """
        The object leaves its shelf before it comes back, and after it has moved away again.
        """
        here, there = shelves
        item = Item.objects.create(title="a", shelf=here)
        with transaction.atomic():
            for shelf in (there, here, there):
                item.shelf = shelf
                item.save()
        assert_law("item")

    def test_of_a_type_whose_rows_have_no_image(self, shelves):
        """
        The deletion is announced before the new creation.
        """
        book = Book.objects.create(title="a")
        with transaction.atomic():
            Book.objects.filter(pk=book.pk).delete()
            book.save(force_insert=True)
        assert_law("book")
        verbs = NotificationOutbox.objects.filter(stream=f"book:{book.pk}").order_by("id")
        assert ["CREATE_BOOK", "DELETE_BOOK", "CREATE_BOOK"] == [row.event for row in verbs]

    def test_is_related_before_it_comes_back(self, shelves):
        """
        Objects that are related to it before it comes back are announced with it, not before.
        """
        item, tag = Item.objects.create(title="a"), Tag.objects.create(name="b")
        Item.objects.filter(pk=item.pk).delete()
        with transaction.atomic():
            item.tags.add(tag)
            item.save(force_insert=True)
        assert_law("item")
        assert ["b"] == payloads()[-1]["tags"]


@pytest.fixture
def shelves():
    return [Shelf.objects.create(name=name) for name in "ab"]


@pytest.mark.django_db(transaction=True, databases=["default", "archive"])
def test_another_database_announces_nothing():
    """
    The tables of other databases have no triggers, since no worker drains their outbox.
    """
    item = Item(title="a")
    item.save(using="archive")
    Item.objects.using("archive").update(count=1)
    item.delete()
    for using in ("default", "archive"):
        assert not NotificationOutbox.objects.using(using).filter(object_type="item").exists()
