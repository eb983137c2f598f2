"""A save announces what the database will hold, if and only if it commits."""

import copy
import datetime as dt
import pickle
import threading
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection, connections, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext

from apps.outbox.exceptions import PayloadError
from apps.outbox.models import NotificationOutbox
from apps.realtime.groups import stream_for
from apps.realtime.registry import register, unregister
from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import ProjectSerializer, TicketSerializer
from tests.law import assert_law
from tests.library.live import ItemType
from tests.library.models import Book, Card, Item, Label, Node, Reader, Shelf, Sign, Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


def update(ticket):
    """What an update of the ticket announces."""
    return [
        (stream_for("project.tickets", ticket.project_id), "UPDATE_TICKET"),
        (stream_for("ticket", ticket.pk), "UPDATE_TICKET"),
    ]


class _Equal(str):
    """Text that is equal to what is stored, and of another type."""

    __slots__ = ()


def _wait_for_a_waiting_lock():
    """Return when another connection waits for a lock of this one."""
    with connection.cursor() as cursor:
        waiting = 0
        while not waiting:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            (waiting,) = cursor.fetchone()


def payloads():
    return list(NotificationOutbox.objects.order_by("id").values_list("payload", flat=True))


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
            _wait_for_a_waiting_lock()
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


class TestPayload:
    """What is announced is what reading the row back would give, wherever it comes from."""

    def test_knows_nothing_of_what_the_instance_remembers(self, ticket, demo, announced):
        """
        Neither a related object, nor a prefetched list, nor an annotation of the instance gets in.
        """
        ticket.assignee = demo
        ticket.save()
        stale = Ticket.objects.select_related("assignee").get()
        get_user_model().objects.filter(pk=demo.pk).update(username="renamed")
        stale.title = "Changed"
        stale.save()
        assert ["renamed"] * 2 == [payload["assignee"] for payload in payloads()[-2:]]
        project = Project.objects.prefetch_related("members").get()
        project.members.clear()
        project = Project.objects.prefetch_related("members").get()
        Project.objects.get().members.add(demo)
        project.name = "Changed"
        project.save()
        assert ["renamed"] == payloads()[-1]["members"]

    @pytest.mark.parametrize(
        ("values", "shown"),
        [
            ({"price": "1.5"}, {"price": "1.50"}),
            ({"price": 2}, {"price": "2.00"}),
            ({"count": "7"}, {"count": 7}),
            ({"notes": {1: (2, 3)}}, {"notes": {"1": [2, 3]}}),
            ({"title": _Equal("x")}, {"title": "x"}),
        ],
        ids=str,
    )
    def test_shows_what_the_column_makes_of_a_value(self, values, shown):
        """
        A value of another type is announced as it is stored.
        """
        item = Item.objects.create(title="a")
        Item(pk=item.pk, **{"title": "a", **values}).save()
        assert shown.items() <= payloads()[-1].items()

    def test_of_a_time_is_in_one_zone(self, project):
        """
        A time of another zone is announced as it comes out of the database.
        """
        east = dt.timezone(dt.timedelta(hours=2))
        Ticket.objects.create(
            project=project, title="a", created=dt.datetime(2026, 1, 1, 1, tzinfo=east)
        )
        assert ["2025-12-31T23:00:00Z"] * 2 == [payload["created"] for payload in payloads()]

    def test_of_an_enumeration_is_its_value(self, ticket):
        """
        Choices are what they stand for, and need no further query.
        """
        ticket.status, ticket.priority = Ticket.Status.CLOSED, Ticket.Priority.HIGH
        ticket.save()
        assert ["closed", 3] == [payloads()[0][name] for name in ("status", "priority")]

    def test_that_cannot_be_made_takes_the_save_back(self, ticket, announced):
        """
        A serializer that raises says which object it was; nothing of the save is committed.
        """
        broken = type("Broken", (TicketType,), {"payload": lambda self, instance: 1 / 0})
        unregister("ticket")
        register(broken)
        try:
            ticket.title = "Changed"
            with pytest.raises(ZeroDivisionError) as caught:
                ticket.save()
        finally:
            unregister("ticket")
            register(TicketType)
        note = f"tickets.Ticket {ticket.pk} is not saved: the payload of 'ticket' can't be made."
        assert [note] == caught.value.__notes__
        assert "The logo is blurred" == Ticket.objects.get().title
        assert [] == announced()

    def test_that_cannot_be_stored_names_field_and_type(self, ticket, announced):
        """
        A payload with a value that is no JSON names the field and the value's type.
        """
        odd = type("Odd", (TicketType,), {"payload": lambda self, row: {"at": {"x": object()}}})
        unregister("ticket")
        register(odd)
        try:
            ticket.title = "Changed"
            with pytest.raises(PayloadError, match=r"ticket\.at\.x: .* got object"):
                ticket.save()
        finally:
            unregister("ticket")
            register(TicketType)
        assert [] == announced()


@contextmanager
def receiving(signal, receiver, model=Ticket):
    """For as long, the model's signal is received."""
    signal.connect(receiver, sender=model, weak=False)
    yield
    signal.disconnect(receiver, sender=model)


class TestReceivers:
    """What receivers of Django's signals do to an object that is being saved."""

    def test_change_it_before(self, ticket, announced):
        """
        A change that only a receiver makes is a change.
        """

        def close(instance, **_):
            instance.status = "closed"

        with receiving(pre_save, close):
            ticket.save()
        assert update(ticket) == announced()
        assert "closed" == payloads()[-1]["status"]

    def test_move_it_before(self, ticket, announced):
        """
        A move that a receiver makes is a move, whatever the instance was when it was saved.
        """
        office = Project.objects.create(name="Office")
        left = ticket.project_id
        NotificationOutbox.objects.all().delete()

        def move(instance, **_):
            instance.project = office

        ticket.title = "Changed"
        with receiving(pre_save, move):
            ticket.save()
        assert (f"project.tickets:{left}", "DELETE_TICKET") in announced()
        assert (f"project.tickets:{office.pk}", "CREATE_TICKET") in announced()

    def test_change_its_row_afterwards(self, ticket):
        """
        What a receiver writes to the row comes after the save, and is announced last.
        """

        def raise_priority(instance, **_):
            Ticket.objects.filter(pk=instance.pk).update(priority=3)

        ticket.title = "Changed"
        with receiving(post_save, raise_priority):
            ticket.save()
        assert [2, 2, 3, 3] == [payload["priority"] for payload in payloads()]

    @pytest.mark.parametrize("signal", [pre_save, post_save], ids=["before", "after"])
    def test_save_it_again(self, ticket, signal):
        """
        A save within a save is one of its own; the outer one is announced as well.
        """

        def save_again(instance, **_):
            if instance.status == "open":
                instance.status = "closed"
                instance.save(update_fields=["status"])
                instance.title = "Again"

        ticket.title = "Changed"
        with receiving(signal, save_again):
            ticket.save()
        stored = Ticket.objects.get()
        last = payloads()[-1]
        assert (stored.title, stored.status) == (last["title"], last["status"])
        assert 4 == len(payloads())

    def test_fail_to_save_it_again(self, ticket, announced):
        """
        A save within a save that is refused leaves the outer one as it was.
        """

        def save_nonsense(instance, **_):
            if instance.title == "Changed":
                instance.title = "a\x00"
                with suppress(PayloadError):
                    instance.save()
                instance.title = "Changed again"

        ticket.title = "Changed"
        with receiving(pre_save, save_nonsense):
            ticket.save()
        assert update(ticket) == announced()

    @pytest.mark.parametrize("signal", [pre_save, post_save], ids=["before", "after"])
    def test_copy_it(self, ticket, signal):
        """
        An instance that is being saved can be pickled and copied as ever.
        """
        copies = []

        def keep(instance, **_):
            copies.extend([pickle.loads(pickle.dumps(instance)), copy.deepcopy(instance)])

        ticket.title = "Changed"
        with receiving(signal, keep):
            ticket.save()
        assert ["Changed"] * 2 == [found.title for found in copies]

    def test_change_another_object_first(self):
        """
        What a receiver of post_save does to others comes after the save, in the order it was done.
        """
        shelf = Shelf(name="s")

        def fill(instance, created, **_):
            if created:
                Item.objects.create(title="a", shelf=instance)

        with receiving(post_save, fill, Shelf):
            shelf.save()
        events = NotificationOutbox.objects.filter(stream=f"shelf:{shelf.pk}").order_by("id")
        assert ["CREATE_SHELF", "UPDATE_SHELF"] == list(events.values_list("event", flat=True))
        assert_law("shelf", "item")


class TestColumns:
    """Columns that make something else of what they are given."""

    @pytest.fixture(autouse=True)
    def no_signs(self, db):
        """Django's flush doesn't find tables with a schema."""
        yield
        Sign.objects.all()._raw_delete("default")

    def test_that_store_another_value(self):
        """
        What is stored is announced, by a save and in bulk; the same value again is no change.
        """
        values = {"address": "2001:0DB8::0001", "text": "ABC"}
        sign = Sign.objects.create(**values)
        Sign.objects.bulk_create([Sign(**values)])
        shown = {(payload["address"], payload["text"]) for payload in payloads()}
        assert {("2001:db8::1", "abc")} == shown
        assert_law("sign")
        sign.text = "XYZ"
        sign.save()
        assert "xyz" == payloads()[-1]["text"]

    def test_that_make_a_value_of_their_own(self):
        """
        A column that changes with each save is a change.
        """
        sign = Sign.objects.create()
        sign.save()
        assert [1, 2] == [payload["version"] for payload in payloads()]

    @pytest.mark.parametrize(
        ("before", "after", "count"),
        [({"a": 1}, {"a": True}, 1), ({"a": 0}, {"a": False}, 1), ({"a": [1]}, {"a": (1,)}, 0)],
        ids=str,
    )
    def test_of_json_tell_numbers_from_truth(self, before, after, count):
        """
        In JSON 1 and true are two values, and a tuple is a list.
        """
        item = Item.objects.create(title="a", notes=before)
        NotificationOutbox.objects.all().delete()
        item.notes = after
        item.save()
        Item.objects.update(notes=after)
        assert count == NotificationOutbox.objects.count()

    def test_of_json_refuse_what_is_none(self):
        """
        A value that is no JSON is named before any SQL, with its type.
        """
        with pytest.raises(PayloadError, match=r"item\.notes: .*type object"):
            Item(title="a", notes={"x": object()}).save()

    def test_that_the_database_computes(self):
        """
        A computed column that is tracked changes with what it is computed from.
        """
        label = Label.objects.create(title="a")
        label.title = "b"
        label.save()
        label.save()
        Label.objects.update(title="c")
        assert ["A", "B", "C"] == [payload["upper"] for payload in payloads()]

    def test_of_a_table_with_a_schema(self):
        """
        Whatever the table's name, its rows are found.
        """
        sign = Sign.objects.create(text="a")
        Sign.objects.update(text="b")
        sign.delete()
        events = NotificationOutbox.objects.order_by("id").values_list("event", flat=True)
        assert ["CREATE_SIGN", "UPDATE_SIGN", "DELETE_SIGN"] == list(events)


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
    def queries(self, change):
        with CaptureQueriesContext(
            connection,
        ) as captured:
            change()
        return [query["sql"].split()[0] for query in captured]

    def test_of_a_changed_save_is_one_insert(self, project, ticket):
        """
        A changed save costs one statement more, whatever it writes; no savepoint.
        """
        project.name = "Intranet"
        assert ["BEGIN", "UPDATE", "SELECT", "INSERT", "COMMIT"] == self.queries(project.save)
        ticket.title = "Changed"
        assert ["BEGIN", "UPDATE", "INSERT", "COMMIT"] == self.queries(ticket.save)

    def test_of_a_created_object_is_one_insert(self, project):
        """
        A new object costs one statement more.
        """
        create = partial(Ticket.objects.create, project=project, title="New")
        assert ["BEGIN", "INSERT", "INSERT", "COMMIT"] == self.queries(create)

    def test_of_a_move_is_one_read_more(self, ticket):
        """
        Where the instance can't know which streams the row leaves, it is read, locked.
        """
        ticket.project = Project.objects.create(name="Office")
        assert ["BEGIN", "SELECT", "UPDATE", "INSERT", "COMMIT"] == self.queries(ticket.save)

    def test_of_some_fields_is_one_read_more(self, ticket):
        """
        Where the instance can't know the whole row, it is read back.
        """
        ticket.title = "Changed"
        save = partial(ticket.save, update_fields=["title"])
        assert ["BEGIN", "UPDATE", "SELECT", "INSERT", "COMMIT"] == self.queries(save)

    def test_of_an_unchanged_save_is_one_read(self, project):
        """
        A save that changes nothing reads the row, and inserts nothing.
        """
        assert ["BEGIN", "SELECT", "UPDATE", "COMMIT"] == self.queries(project.save)


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
