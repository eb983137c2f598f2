"""Deletions and many-to-many relations are announced, in the order the database gives them."""

import threading

import pytest
from django.db import DatabaseError, connections, transaction

from apps.outbox.models import NotificationOutbox
from apps.realtime import hashids
from apps.tickets.models import Project, Ticket

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
        assert {"DELETE_TICKET", "DELETE_PROJECT"} == {event for _, event in announced()}

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
    thread.join()
    assert not Ticket.objects.exists()
    assert ["DELETE_TICKET", "DELETE_TICKET"] == [event for _, event in announced()]


class TestManyToMany:
    @pytest.fixture
    def office(self):
        office = Project.objects.create(name="Office")
        NotificationOutbox.objects.all().delete()
        return office

    def members(self):
        return [row.payload["members"] for row in NotificationOutbox.objects.order_by("id")]

    def test_add_remove_set_clear(self, office, demo, other):
        """
        Each change of the relation announces the object as it is then.
        """
        office.members.add(demo)
        office.members.add(other)
        office.members.remove(demo)
        office.members.set([demo])
        office.members.clear()
        assert [["demo"], ["demo", "other"], ["other"], [], ["demo"], []] == self.members()

    def test_without_a_change_is_silent(self, office, demo):
        """
        Adding who is there and clearing what is empty change nothing.
        """
        office.members.clear()
        office.members.add(demo)
        office.members.add(demo)
        assert [["demo"]] == self.members()

    def test_from_the_other_side(self, office, other):
        """
        The owner of the relation is announced, whichever side changes it.
        """
        other.projects.add(office)
        other.projects.remove(office)
        other.projects.add(office)
        other.projects.clear()
        assert [["other"], [], ["other"], []] == self.members()
