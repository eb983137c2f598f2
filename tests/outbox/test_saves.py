"""A save announces what the database will hold, if and only if it commits."""

import threading
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection, connections, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from apps.outbox.exceptions import PayloadError
from apps.outbox.models import NotificationOutbox
from apps.realtime.registry import register, unregister
from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import ProjectSerializer, TicketSerializer
from tests.database import payloads, statements, update, wait_for_a_waiting_lock
from tests.law import assert_law
from tests.library.live import ItemType
from tests.library.models import Book, Card, Item, Node, Reader, Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


class _Equal(str):
    """Text that is equal to what is stored, and of another type."""

    __slots__ = ()


class TestCreate:
    def test_is_announced(self, project, announced):
        """
        A new object is announced on its own stream and on its collection's, as one event.
        """
        ticket = Ticket.objects.create(project=project, title="New")
        assert [
            (f"project.tickets:{project.pk}", "CREATE_TICKET"),
            (f"ticket:{ticket.pk}", "CREATE_TICKET"),
        ] == announced()
        assert 1 == NotificationOutbox.objects.values("event_id").distinct().count()
        assert [TicketSerializer(ticket).data] * 2 == payloads()

    def test_over_an_existing_key_is_an_update(self, ticket, announced):
        """
        Whether something is new is what the database says, not what the instance believes.
        """
        Ticket(pk=ticket.pk, project=ticket.project, title="Again", created=ticket.created).save()
        assert update(ticket) == announced()

    def test_with_a_key_of_its_own(self, project, announced):
        """
        An object whose key was chosen by the caller is new if the database has none.
        """
        Ticket(pk=4711, project=project, title="Mine").save()
        assert ("ticket:4711", "CREATE_TICKET") in announced()

    def test_with_a_key_of_its_own_by_force_update(self):
        """
        A new instance that Django updates with is an update, although its key has a default.
        """
        card = Card.objects.create(number=1)
        NotificationOutbox.objects.all().delete()
        Card(pk=card.pk, number=1, colour="blue").save(force_update=True)
        assert ["UPDATE_CARD"] == list(NotificationOutbox.objects.values_list("event", flat=True))

    def test_forced(self, project, announced):
        """
        A forced insert is an insert.
        """
        Ticket(pk=4711, project=project, title="Mine").save(force_insert=True)
        assert ("ticket:4711", "CREATE_TICKET") in announced()


class TestUpdate:
    def test_of_a_tracked_field_is_announced(self, ticket, announced):
        """
        A changed object is announced with what the serializer makes of it.
        """
        ticket.title = "Changed"
        ticket.save()
        assert update(ticket) == announced()
        assert [TicketSerializer(Ticket.objects.get()).data] * 2 == payloads()

    def test_without_a_change_is_not(self, ticket, announced):
        """
        A save that changes no tracked field announces nothing.
        """
        ticket.save()
        Ticket.objects.get().save()
        assert [] == announced()

    def test_to_an_equal_value_of_another_type_is_not(self, ticket, project, announced):
        """
        A number that came as text changes nothing if it is the same number.
        """
        ticket.priority = str(ticket.priority)
        ticket.save()
        project.name = _Equal("Website")
        project.save()
        assert [] == announced()

    def test_to_a_value_of_no_type_is_the_databases_affair(self, ticket, announced):
        """
        What the field can't read, the database refuses; nothing is announced.
        """
        ticket.priority = "high"
        with pytest.raises(ValueError, match="high"):
            ticket.save()
        assert [] == announced()

    def test_of_a_new_instance_with_an_old_key_asks_the_database(self, announced):
        """
        An instance that was never saved proves nothing, whatever was assigned to it.
        """
        fresh = Project(pk=4711, name="a")
        fresh.name = "b"
        fresh.save()
        assert [("project:4711", "CREATE_PROJECT")] == announced()

    def test_waits_for_who_is_before_it(self, ticket, announced):
        """
        A save that looks unchanged, while another commits a change, changes it back, and says so.
        """
        stale = Ticket.objects.get()
        begun = threading.Event()

        def save():
            begun.set()
            stale.save()
            connections.close_all()

        thread = threading.Thread(target=save)
        with transaction.atomic():
            ticket.title = "Newer"
            ticket.save()
            thread.start()
            begun.wait()
            wait_for_a_waiting_lock()
        thread.join()
        assert update(ticket) * 2 == announced()
        assert "The logo is blurred" == Ticket.objects.get().title == payloads()[-1]["title"]

    @pytest.mark.parametrize("kind", [list, set, tuple])
    def test_of_some_fields_shows_what_is_stored(self, ticket, announced, kind):
        """
        With update_fields the payload shows the row, not what else the instance has in memory.
        """
        ticket.title, ticket.status = "Changed", Ticket.Status.CLOSED
        ticket.save(update_fields=kind(["title"]))
        assert update(ticket) == announced()
        assert ["Changed", "open"] == [payloads()[0][key] for key in ("title", "status")]

    def test_of_other_fields_is_not_announced(self, ticket, announced):
        """
        A changed field that is not written is no change.
        """
        ticket.title = "Changed"
        ticket.save(update_fields=["status"])
        ticket.save(update_fields=[])
        assert [] == announced()

    def test_of_no_loaded_field_reads_nothing_more(self, ticket, announced):
        """
        A deferred field is neither loaded nor taken for a change.
        """
        Ticket.objects.only("title").get().save()
        assert [] == announced()
        deferred = Ticket.objects.only("title").get()
        deferred.title = "Changed"
        deferred.save()
        assert update(ticket) == announced()
        assert "open" == payloads()[0]["status"]

    def test_with_an_expression_shows_its_value(self, ticket, announced):
        """
        What the database computes is what is announced.
        """
        ticket.priority = F("priority") + 1
        ticket.save()
        assert 3 == payloads()[0]["priority"]
        ticket.refresh_from_db()
        ticket.title = Concat(F("title"), Value("!"))
        ticket.save(update_fields=["title"])
        assert "The logo is blurred!" == payloads()[-1]["title"]

    def test_from_a_stale_instance_is_a_change(self, ticket, announced):
        """
        An instance saved unchanged over a newer row changes it back.
        """
        Ticket.objects.filter(pk=ticket.pk).update(title="Newer")
        ticket.save()
        assert update(ticket) * 2 == announced()
        assert "The logo is blurred" == payloads()[-1]["title"]

    def test_after_a_rollback_is_a_change(self, ticket, announced):
        """
        After a rollback the instance still differs from the database: saving it again announces it.
        """
        ticket.title = "Changed"
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            ticket.save()
            raise ZeroDivisionError
        assert [] == announced()
        ticket.save()
        assert update(ticket) == announced()

    def test_of_a_row_that_is_gone_is_a_creation(self, ticket, announced):
        """
        An instance whose row somebody deleted is inserted anew, whatever it believes.
        """
        Ticket.objects.get().delete()
        NotificationOutbox.objects.all().delete()
        ticket.title = "Back"
        ticket.save()
        assert {"CREATE_TICKET"} == {event for _, event in announced()}

    def test_by_an_instance_that_is_elsewhere_moves_the_row(self, ticket, announced):
        """
        A stale instance that changes its title takes the row back to where it believes to be.
        """
        office = Project.objects.create(name="Office")
        Ticket.objects.filter(pk=ticket.pk).update(project=office)
        NotificationOutbox.objects.all().delete()
        ticket.title = "Changed"
        ticket.save()
        assert {
            (f"project.tickets:{office.pk}", "DELETE_TICKET"),
            (f"project.tickets:{ticket.project_id}", "CREATE_TICKET"),
            (f"ticket:{ticket.pk}", "UPDATE_TICKET"),
        } == set(announced())

    def test_of_a_project_without_collections(self, project, announced):
        """
        A type that is in no collection is announced on its own stream only.
        """
        project.name = "Intranet"
        project.save()
        assert [(f"project:{project.pk}", "UPDATE_PROJECT")] == announced()
        assert [ProjectSerializer(project).data] == payloads()


class TestInheritance:
    def test_the_key_may_be_the_parents(self):
        """
        A child that lost its key in a deletion that was rolled back is the one that it was.
        """
        book = Book.objects.create(title="a")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            book.delete(keep_parents=True)
            raise ZeroDivisionError
        NotificationOutbox.objects.all().delete()
        book.title = "b"
        book.save(update_fields=["title"])
        events = NotificationOutbox.objects.order_by("event").values_list("event", flat=True)
        assert ["UPDATE_BOOK", "UPDATE_ITEM"] == list(events)


class TestAlso:
    def test_goes_up_and_ends(self):
        """
        A change of a node announces its ancestors; nodes that show each other are announced once.
        """
        root = Node.objects.create(name="root")
        child = Node.objects.create(name="child", parent=root)
        leaf = Node.objects.create(name="leaf", parent=child)
        leaf.name = "changed"
        leaf.save()
        rows = NotificationOutbox.objects.filter(stream__startswith="node:").order_by("-id")
        expected = [f"node:{node.pk}" for node in (root, child, leaf)]
        assert expected == list(rows.values_list("stream", flat=True)[:3])
        root.parent = leaf
        root.save()
        leaf.parent = leaf
        leaf.save()
        assert_law("node")


class TestMove:
    def test_leaves_one_collection_and_enters_another(self, ticket, announced):
        """
        A moved object is gone where it was, with its id only, and new where it is.
        """
        other = Project.objects.create(name="Office")
        NotificationOutbox.objects.all().delete()
        left = ticket.project_id
        ticket.project = other
        ticket.save()
        assert sorted(
            [
                (f"project.tickets:{left}", "DELETE_TICKET"),
                (f"project.tickets:{other.pk}", "CREATE_TICKET"),
                (f"ticket:{ticket.pk}", "UPDATE_TICKET"),
            ]
        ) == sorted(announced())
        gone = NotificationOutbox.objects.get(event="DELETE_TICKET").payload
        assert {"id": TicketSerializer(ticket).data["id"]} == gone


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


class TestRefusal:
    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("ticket.title", {"title": "a\x00b"}),
            ("ticket.title", {"title": "\ud800"}),
            ("ticket.priority", {"priority": 2**64}),
        ],
    )
    def test_comes_before_any_sql(self, project, announced, field, values):
        """
        A value that can't be stored is refused by name; a transaction that is open stays usable.
        """
        with transaction.atomic():
            with pytest.raises(PayloadError) as caught:
                Ticket(project=project, **values).save()
            assert field == caught.value.field
            assert 1 == Ticket.objects.count()
        assert [] == announced()


def test_fixtures_are_silent(ticket, announced):
    """
    What `loaddata` writes is not announced.
    """
    ticket.title = "Loaded"
    ticket.save_base(raw=True)
    assert [] == announced()


def test_a_model_that_is_not_registered_is_silent(announced, other):
    """
    Only live models announce.
    """
    other.first_name = "O."
    other.save()
    assert [] == announced()
    assert get_user_model().objects.filter(first_name="O.").exists()


async def test_async_saves_are_captured(ticket):
    """
    In a running event loop, too, a save is captured.
    """
    ticket.title = "Changed"
    await ticket.asave()
    assert 2 == await NotificationOutbox.objects.acount()
    await sync_to_async(connections.close_all)()
