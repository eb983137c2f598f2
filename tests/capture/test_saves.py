"""A save is announced with the stored state if, and only if, it commits."""

import threading

import pytest
from django.db import DatabaseError, connections, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import ProjectSerializer, TicketSerializer
from pillarbox.models import NotificationOutbox
from tests.database import payloads, update, wait_for_a_waiting_lock
from tests.law import assert_law
from tests.library.models import Book, Card, Node

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


class TestCreate:
    def test_is_announced(self, project, announced):
        """
        A new object is announced on its own stream and its collection's, as one event.
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
        Whether an object is new depends on the database, not on the instance.
        """
        Ticket(pk=ticket.pk, project=ticket.project, title="Again", created=ticket.created).save()
        assert update(ticket) == announced()

    def test_over_an_existing_key_with_a_default(self):
        """
        The generated key of a new instance may already exist in the database.
        """
        card = Card.objects.create(number=1)
        NotificationOutbox.objects.all().delete()
        Card(pk=card.pk, number=1, colour="blue").save(force_update=True)
        assert ["UPDATE_CARD"] == list(NotificationOutbox.objects.values_list("event", flat=True))

    def test_of_a_key_that_is_not_there(self, project, announced):
        """
        A forced update of a missing row announces nothing.
        """
        with pytest.raises(DatabaseError):
            Ticket(pk=4711, project=project, title="Mine").save(force_update=True)
        assert [] == announced()

    @pytest.mark.parametrize("options", [{}, {"force_insert": True}], ids=str)
    def test_with_a_key_of_its_own(self, project, announced, options):
        """
        An object with a key chosen by the caller is new if the database doesn't have it.
        """
        ticket = Ticket(pk=4711, project=project)
        ticket.title = "Mine"
        ticket.save(**options)
        assert ("ticket:4711", "CREATE_TICKET") in announced()

    def test_of_a_copy(self, ticket, announced):
        """
        An instance whose key is cleared is saved as another object; the first one is unchanged.
        """
        first = ticket.pk
        ticket.pk = None
        ticket.save()
        assert first != ticket.pk
        assert ("CREATE_TICKET", f"ticket:{ticket.pk}") == announced()[-1][::-1]
        assert {"CREATE_TICKET"} == {event for _, event in announced()}


class TestUpdate:
    def test_of_a_tracked_field_is_announced(self, ticket, announced):
        """
        A changed object is announced with its serializer's payload.
        """
        ticket.title = "Changed"
        ticket.save()
        assert update(ticket) == announced()
        assert [TicketSerializer(Ticket.objects.get()).data] * 2 == payloads()

    def test_without_a_change_is_not(self, ticket, announced):
        """
        A save that changes no tracked field announces nothing, whatever the types of its values.
        """
        ticket.save()
        Ticket.objects.get().save()
        ticket.priority = str(ticket.priority)
        ticket.save()
        assert [] == announced()

    def test_of_some_fields_shows_the_stored_row(self, ticket, announced):
        """
        With update_fields the payload shows the row, not the instance's other values.
        """
        ticket.title, ticket.status = "Changed", Ticket.Status.CLOSED
        ticket.save(update_fields=["title"])
        assert update(ticket) == announced()
        assert ["Changed", "open"] == [payloads()[0][key] for key in ("title", "status")]

    def test_with_an_expression_shows_its_value(self, ticket):
        """
        The value computed by the database is announced.
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
        Saving an unchanged instance over a newer row is a change.
        """
        Ticket.objects.filter(pk=ticket.pk).update(title="Newer")
        ticket.save()
        assert update(ticket) * 2 == announced()
        assert ["Newer"] * 2 + ["The logo is blurred"] * 2 == [p["title"] for p in payloads()]

    def test_after_a_rollback_is_a_change(self, ticket, announced):
        """
        After a rollback the instance differs from the row, so saving it again is announced.
        """
        ticket.title = "Changed"
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            ticket.save()
            raise ZeroDivisionError
        assert [] == announced()
        ticket.save()
        assert update(ticket) == announced()

    def test_of_a_project_without_collections(self, project, announced):
        """
        A type without collections is announced on its own stream only.
        """
        project.name = "Intranet"
        project.save()
        assert [(f"project:{project.pk}", "UPDATE_PROJECT")] == announced()
        assert [ProjectSerializer(project).data] == payloads()

    def test_of_a_model_that_is_not_live(self, other, announced):
        """
        Models that aren't live announce nothing.
        """
        other.first_name = "O."
        other.save()
        assert [] == announced()


def test_the_key_may_be_the_parents():
    """
    A child that lost its key in a rolled-back deletion is still the same object.
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


def test_also_may_lead_in_a_circle():
    """
    Objects that include each other are announced once per change.
    """
    root = Node.objects.create(name="root")
    leaf = Node.objects.create(name="leaf", parent=root)
    root.parent = leaf
    root.save()
    leaf.parent = leaf
    leaf.save()
    assert_law("node")


class TestStale:
    """Saves of instances that are older than their rows."""

    def test_takes_the_row_back(self, ticket, announced):
        """
        The row returns to the instance's collection, and leaves the collection it was moved to.
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
            ("rights", "UPDATE_TICKET"),
        } == set(announced())

    def test_waits_for_a_change_and_takes_it_back(self, ticket, announced):
        """
        A save that seems unchanged is announced after the change of another transaction that
        commits first.
        """
        stale = Ticket.objects.get()

        def save():
            stale.save()
            connections.close_all()

        thread = threading.Thread(target=save)
        with transaction.atomic():
            ticket.title = "Newer"
            ticket.save()
            thread.start()
            wait_for_a_waiting_lock()
        thread.join()
        assert update(ticket) * 2 == announced()
        assert "The logo is blurred" == Ticket.objects.get().title == payloads()[-1]["title"]

    def test_of_an_equal_value_of_another_type(self, ticket, announced):
        """
        A number given as text is no change if the number is the same.
        """
        ticket.priority = str(ticket.priority)
        ticket.save()
        assert [] == announced()
