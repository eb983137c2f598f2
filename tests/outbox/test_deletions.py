"""Deletions are announced, cascades included, in the order the database gives them."""

import threading

import pytest
from django.db import DatabaseError, connection, connections, transaction

from apps.outbox.models import NotificationOutbox, Stream
from apps.realtime import hashids
from apps.tickets.models import Project, Ticket
from tests.database import statements, wait_for_a_waiting_lock
from tests.library.models import Book, Item, Note, Reader, Shelf, Tag, Treasure

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


class TestDelete:
    def test_is_announced_with_the_id_only(self, ticket, announced):
        """
        A deleted object is announced wherever it was, with its id and nothing else.
        """
        pk, owner = ticket.pk, ticket.project_id
        ticket.delete()
        assert [
            (f"project.tickets:{owner}", "DELETE_TICKET"),
            (f"ticket:{pk}", "DELETE_TICKET"),
        ] == announced()
        assert {"id": hashids.encode("ticket", pk)} == NotificationOutbox.objects.first().payload

    def test_cascades(self, ticket, project, announced):
        """
        What is deleted along with its owner is announced.
        """
        project.delete()
        events = {event for stream, event in announced() if not stream.startswith("rights:")}
        assert {"DELETE_TICKET", "DELETE_PROJECT"} == events

    def test_of_many(self, ticket, project, announced):
        """
        The deletion of a queryset announces each object.
        """
        Ticket.objects.create(project=project, title="Second")
        NotificationOutbox.objects.all().delete()
        Ticket.objects.all().delete()
        assert 4 == len(announced())

    def test_rolled_back_is_silent(self, ticket, announced):
        """
        A deletion that doesn't commit is not announced.
        """
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            ticket.delete()
            raise ZeroDivisionError
        assert [] == announced()

    def test_of_what_is_gone_is_silent(self, ticket, announced):
        """
        Deleting an object that somebody else deleted announces nothing twice.
        """
        Ticket.objects.get().delete()
        before = announced()
        ticket.delete()
        assert before == announced()


def test_no_ghost_returns_after_its_deletion(ticket, announced):
    """
    A save that waits for a deletion's lock comes out after it, as the database has it.
    """
    stale = Ticket.objects.get()
    started = threading.Event()

    def save():
        try:
            stale.title = "Ghost"
            started.set()
            stale.save(force_update=True)
        except DatabaseError:  # Django says that the row is gone
            pass
        finally:
            connections.close_all()

    with transaction.atomic():
        ticket.delete()
        thread = threading.Thread(target=save)
        thread.start()
        started.wait()
        wait_for_a_waiting_lock()
    thread.join()
    assert not Ticket.objects.exists()
    assert ["DELETE_TICKET", "DELETE_TICKET"] == [event for _, event in announced()]


def test_waits_for_who_refers_to_the_object(ticket):
    """
    A deletion waits at its beginning, holding nothing: who made it wait may go on and save the object.
    """

    def delete():
        Ticket.objects.get().delete()
        connections.close_all()

    thread = threading.Thread(target=delete)
    with transaction.atomic(), connection.cursor() as cursor:
        # As the database does for a foreign key to the ticket.
        cursor.execute("SELECT 1 FROM tickets_ticket FOR KEY SHARE")
        thread.start()
        wait_for_a_waiting_lock()
        ticket.title = "Changed"
        ticket.save()
    thread.join()
    events = NotificationOutbox.objects.order_by("id").values_list("event", flat=True)
    assert ["UPDATE_TICKET"] * 2 + ["DELETE_TICKET"] * 2 == list(events)


def test_takes_what_hangs_on_an_object_first(ticket):
    """
    A deletion that cascades waits for an item before it holds the shelf: the item's save goes on.
    """
    shelf = Shelf.objects.create(name="a")
    item = Item.objects.create(title="a", shelf=shelf)

    def delete():
        Shelf.objects.get().delete()
        connections.close_all()

    thread = threading.Thread(target=delete)
    with transaction.atomic():
        Item.objects.select_for_update().get()
        thread.start()
        wait_for_a_waiting_lock()
        item.title = "b"
        item.save()
    thread.join()
    assert not Shelf.objects.exists()


class TestCost:
    def test_of_one_object(self, ticket):
        """
        One read more, and one insert.
        """
        ticket = Ticket.objects.get()
        assert ["BEGIN", "SELECT", "DELETE", "INSERT", "COMMIT"] == statements(ticket.delete)

    def test_of_many_objects(self, project):
        """
        One read for each model, and what is announced is copied at once, however many.
        """
        Ticket.objects.bulk_create(Ticket(project=project, title=str(n)) for n in range(1000))
        found = statements(Ticket.objects.all().delete)
        assert 2 == found.count("SELECT")  # Django's own, and ours
        assert 1 == found.count("COPY")  # of 2002 notifications
        assert found.count("DELETE") <= 11


class TestLosses:
    """What a deletion does to objects that stay."""

    def test_set_null(self, ticket, demo):
        """
        A ticket whose assignee is deleted has none, and says so.
        """
        ticket.assignee = demo
        ticket.save()
        NotificationOutbox.objects.all().delete()
        demo.delete()
        row = NotificationOutbox.objects.get(stream=f"ticket:{ticket.pk}")
        assert ("UPDATE_TICKET", None) == (row.event, row.payload["assignee"])

    @pytest.mark.usefixtures("rules_that_look")
    def test_by_a_rule_of_ones_own(self, ticket):
        """
        A rule that reads what it updates, so that Django updates it row by row, is seen as well.
        """
        reader = Reader.objects.create(name="Ann")
        Note.objects.create(reader=reader)
        item = Item.objects.create(title="a", borrower=reader)
        NotificationOutbox.objects.all().delete()
        reader.delete()
        assert Note.objects.get().reader is None
        row = NotificationOutbox.objects.get()
        assert (f"item:{item.pk}", None) == (row.stream, row.payload["borrower"])


@pytest.fixture
def rules_that_look():
    """What borrows from a reader, or notes something of one, loses it by a rule of its own."""
    relations = [model._meta.get_field(name).remote_field for model, name in READERS]
    rules = [relation.on_delete for relation in relations]
    for relation in relations:
        relation.on_delete = _set_null_after_a_look
    yield
    for relation, rule in zip(relations, rules, strict=True):
        relation.on_delete = rule


READERS = [(Item, "borrower"), (Note, "reader")]


def _set_null_after_a_look(collector, field, sub_objs, using):
    assert len(sub_objs)
    collector.add_field_update(field, None, sub_objs)


def test_shows_the_row_as_it_was(ticket, project):
    """
    A ticket that a stale instance deletes is gone from the collection it is in.
    """
    office = Project.objects.create(name="Office")
    Ticket.objects.filter(pk=ticket.pk).update(project=office)
    NotificationOutbox.objects.all().delete()
    ticket.delete()
    streams = set(NotificationOutbox.objects.values_list("stream", flat=True))
    assert f"project.tickets:{office.pk}" in streams
    assert f"project.tickets:{project.pk}" not in streams


def test_a_row_is_gone_once(ticket):
    """
    A row that is deleted as a proxy's and as its child's parent is announced once.
    """
    book = Book.objects.create(title="a")
    NotificationOutbox.objects.all().delete()
    Treasure.objects.get(pk=book.pk).delete()
    events = NotificationOutbox.objects.order_by("event").values_list("event", flat=True)
    assert ["DELETE_BOOK", "DELETE_ITEM"] == list(events)


def test_what_is_not_live_is_django_s_affair(ticket):
    """
    The deletion of other models costs no statement of ours.
    """
    tag = Tag.objects.create(name="a")
    assert "INSERT" not in statements(tag.delete)
    assert ["DELETE"] == statements(Stream.objects.create(name="x", shard=0).delete)
