"""Rows are where the object is, and in its transaction, which costs an insert."""

import threading
from functools import partial

import pytest
from django.db import connection, connections, transaction

from apps.outbox.exceptions import PayloadError
from apps.outbox.models import NotificationOutbox
from apps.realtime.registry import register, unregister
from apps.tickets.models import Project, Ticket
from tests.database import payloads, statements, update
from tests.library.live import ItemType
from tests.library.models import Item, Reader, Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


class TestAtomicity:
    def test_another_connection_sees_all_or_nothing(self, ticket):
        """
        Before the commit another connection sees neither the change nor its rows; then both.
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
        Of a transaction that commits, a rolled-back savepoint announces nothing.
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
        In autocommit, too, the save and its rows are one: no half is committed.
        """
        with pytest.raises(PayloadError, match=r"ticket\.title"):
            Ticket.objects.create(project=ticket.project, title="a\x00b")
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE outbox_notificationoutbox RENAME TO away")
        try:
            ticket.title = "Changed"
            with pytest.raises(Exception, match="outbox_notificationoutbox"):
                ticket.save()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE away RENAME TO outbox_notificationoutbox")
        assert "The logo is blurred" == Ticket.objects.get().title
        assert [] == announced()


class TestCost:
    def test_of_a_changed_save_is_one_insert(self, project, ticket):
        """
        A changed save costs one statement more, whatever it writes; no savepoint.
        """
        project.name = "Intranet"
        assert ["BEGIN", "UPDATE", "SELECT", "INSERT", "COMMIT"] == statements(project.save)
        ticket.title = "Changed"
        assert ["BEGIN", "UPDATE", "INSERT", "COMMIT"] == statements(ticket.save)

    def test_of_a_created_object_is_one_insert(self, project):
        """
        A new object costs one statement more.
        """
        create = partial(Ticket.objects.create, project=project, title="New")
        assert ["BEGIN", "INSERT", "INSERT", "COMMIT"] == statements(create)

    def test_of_a_move_is_one_read_more(self, ticket):
        """
        Where the instance can't know which streams the row leaves, it is read, locked.
        """
        ticket.project = Project.objects.create(name="Office")
        assert ["BEGIN", "SELECT", "UPDATE", "INSERT", "COMMIT"] == statements(ticket.save)

    def test_of_some_fields_is_one_read_more(self, ticket):
        """
        Where the instance can't know the whole row, it is read back.
        """
        ticket.title = "Changed"
        save = partial(ticket.save, update_fields=["title"])
        assert ["BEGIN", "UPDATE", "SELECT", "INSERT", "COMMIT"] == statements(save)

    def test_of_an_unchanged_save_is_one_read(self, project):
        """
        A save that changes nothing reads the row, and inserts nothing.
        """
        assert ["BEGIN", "SELECT", "UPDATE", "COMMIT"] == statements(project.save)


class TestSeveralDatabases:
    @pytest.mark.django_db(transaction=True, databases=["default", "archive"])
    def test_the_rows_go_where_the_object_goes(self):
        """
        In the object's database, in its transaction; none in another.
        """
        reader = Reader.objects.using("archive").create(name="Ann")
        with transaction.atomic(using="archive"):
            item = Item(title="a", borrower=reader)
            item.save(using="archive")
            item.title = "b"
            item.save()
        Item.objects.using("archive").update(count=1)
        Item.objects.using("archive").bulk_create([Item(title="c")])
        item.tags.add(Tag.objects.using("archive").create(name="t"))
        reader.delete()
        with pytest.raises(ZeroDivisionError), transaction.atomic(using="archive"):
            item.delete()
            raise ZeroDivisionError
        Item.objects.using("archive").get(title="c").delete()
        assert not NotificationOutbox.objects.filter(object_type="item").exists()
        events = NotificationOutbox.objects.using("archive").order_by("id")
        assert [
            "CREATE_ITEM",
            *["UPDATE_ITEM"] * 2,
            "CREATE_ITEM",
            *["UPDATE_ITEM"] * 2,
            "DELETE_ITEM",
        ] == list(events.values_list("event", flat=True))

    @pytest.mark.django_db(transaction=True, databases=["default", "archive"])
    def test_a_save_is_one_transaction_there(self):
        """
        Without a transaction of the caller's, the save and its rows are one in that database.
        """
        broken = type("Broken", (ItemType,), {"payload": lambda self, instance: 1 / 0})
        unregister("item")
        register(broken)
        try:
            with pytest.raises(ZeroDivisionError):
                Item(title="a").save(using="archive")
            with pytest.raises(ZeroDivisionError):
                Item.objects.using("archive").bulk_create([Item(title="a")])
        finally:
            unregister("item")
            register(ItemType)
        assert not Item.objects.using("archive").exists()
