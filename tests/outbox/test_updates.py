"""A save of what is there already: it announces what changes, whatever the instance believes."""

import threading

import pytest
from django.db import connections, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from apps.outbox.models import NotificationOutbox
from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import ProjectSerializer, TicketSerializer
from tests.database import payloads, update, wait_for_a_waiting_lock

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


class _Equal(str):
    """Text that is equal to what is stored, and of another type."""

    __slots__ = ()


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
