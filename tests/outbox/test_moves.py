"""A change of what decides where an object is, is marked where the object stays."""

import pytest

from apps.outbox.models import NotificationOutbox
from apps.tickets.models import Project, Ticket
from tests.library.models import Book, Node, Shelf

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


def marked(**lookup):
    """Return which of the notifications are moves: stream, verb and mark of each, in order."""
    rows = NotificationOutbox.objects.filter(**lookup).order_by("id")
    return [(row.stream, row.event.partition("_")[0], row.is_move) for row in rows]


@pytest.fixture
def office(ticket):
    office = Project.objects.create(name="Office")
    NotificationOutbox.objects.all().delete()
    return office


def _save(ticket, office):
    ticket.project = office
    ticket.save()


def _save_some(ticket, office):
    ticket.project = office
    ticket.save(update_fields=["project"])


def _save_column(ticket, office):
    ticket.project_id = office.pk
    ticket.save(update_fields=["project_id"])


def _save_stale(ticket, office):
    # Back to where the instance takes it to be.
    Ticket.objects.filter(pk=ticket.pk).update(project=office)
    NotificationOutbox.objects.all().delete()
    ticket.title = "Changed"
    ticket.save()


def _update(ticket, office):
    Ticket.objects.update(project=office)


def _bulk_update(ticket, office):
    ticket.project = office
    Ticket.objects.bulk_update([ticket], ["project"])


def _upsert(ticket, office):
    Ticket.objects.bulk_create(
        [Ticket(pk=ticket.pk, project=office, title="b")],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["project"],
    )


def _add(ticket, office):
    office.tickets.add(ticket)


@pytest.mark.parametrize(
    "move", [_save, _save_some, _save_column, _save_stale, _update, _bulk_update, _upsert, _add]
)
def test_is_marked_where_the_object_stays(ticket, office, move):
    """
    However an object moves, its own stream says so; where it left and where it entered need no mark.
    """
    here, there = ticket.project_id, office.pk
    if move is _save_stale:
        here, there = there, here
    move(ticket, office)
    assert {
        (f"ticket:{ticket.pk}", "UPDATE", True),
        (f"project.tickets:{here}", "DELETE", False),
        (f"project.tickets:{there}", "CREATE", False),
    } == set(marked())


def test_of_many_at_once(project, office):
    """
    Rows that are copied, not inserted, are marked as well.
    """
    Ticket.objects.bulk_create(Ticket(project=project, title=str(n)) for n in range(30))
    NotificationOutbox.objects.all().delete()
    Ticket.objects.update(project=office)
    found = marked()
    assert 31 == found.count((f"project.tickets:{office.pk}", "CREATE", False))
    assert 31 == len(
        [stream for stream, verb, is_move in found if (verb, is_move) == ("UPDATE", True)]
    )
    assert 93 == len(found)


def test_by_the_deletion_of_what_owned_the_place():
    """
    An object whose place is deleted, and which stays, has moved.
    """
    root = Node.objects.create(name="root")
    child = Node.objects.create(name="child", parent=root)
    NotificationOutbox.objects.all().delete()
    pk = root.pk
    root.delete()
    assert [
        (f"node.children:{pk}", "DELETE", False),
        (f"node:{child.pk}", "UPDATE", True),
    ] == sorted(marked(object_id=str(child.pk)))


def test_of_a_child_is_not_its_parents():
    """
    Of an object in two tables, the type that is in the collection moves; what only shows it does not.
    """
    shelf, other = (Shelf.objects.create(name=name) for name in "ab")
    book = Book.objects.create(title="a", shelf=shelf)
    NotificationOutbox.objects.all().delete()
    book.shelf = other
    book.save()
    assert {
        (f"item:{book.pk}", "UPDATE", True),
        (f"book:{book.pk}", "UPDATE", False),
        (f"shelf:{shelf.pk}", "UPDATE", False),
        (f"shelf:{other.pk}", "UPDATE", False),
        (f"shelf.items:{shelf.pk}", "DELETE", False),
        (f"shelf.items:{other.pk}", "CREATE", False),
    } == set(marked())


def test_nothing_else_is_one(ticket, project):
    """
    What changes in its place, comes, or goes has not moved.
    """
    ticket.title = "Changed"
    ticket.save()
    Ticket.objects.update(status="closed")
    ticket.delete()
    project.delete()
    assert marked()
    assert [] == [row for row in marked() if row[2]]
