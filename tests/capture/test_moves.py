"""Moves: a change of an object's streams or of its readers is marked on the streams where it stays."""

from contextlib import ExitStack

import pytest
from django.db.models import F

from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import TicketSerializer
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.types.registry import ObjectType
from tests.database import payloads
from tests.library.models import Book, Item, Label, Node, Shelf
from tests.registration import registered

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


def marked(**lookup):
    """Return stream, verb and move mark of each notification, in order."""
    rows = NotificationOutbox.objects.filter(**lookup).exclude(stream=RIGHTS).order_by("id")
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
    # Back to the stale instance's own values.
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
    Any move is marked on the object's own stream, but not on the streams it left or entered.
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


def test_shows_the_id_only_where_it_left(ticket, office):
    """
    The old collection gets a deletion with the object's id only.
    """
    _save(ticket, office)
    (gone,) = payloads(event="DELETE_TICKET")
    assert {"id": TicketSerializer(ticket).data["id"]} == gone


def test_by_the_deletion_of_its_owner():
    """
    An object that stays when its collection's owner is deleted has moved.
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
    With two tables, only the type that is in the collection moves.
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
    Creations and other changes are not moves. A deletion is marked like a move.
    """
    ticket.title = "Changed"
    ticket.save()
    Ticket.objects.update(status="closed")
    pk = ticket.pk
    ticket.delete()
    assert [(f"ticket:{pk}", "DELETE", True)] == [row for row in marked() if row[2]]


def type_of(model, *fields, **names):
    """Return a type of a model's objects without collections, with these visibility fields."""
    meta = type("Meta", (), {"model": model, "fields": []})
    serializer = type("Serializer", (TicketType.serializer_class,), {"Meta": meta})
    values = {"name": "kind", "serializer_class": serializer, "visibility_fields": fields, **names}
    return type("Kind", (ObjectType,), {"payload": lambda self, row: {}, **values})


@pytest.fixture
def with_visibility_fields():
    """Return a function that registers a type whose readers depend on the given fields."""
    with ExitStack() as stack:

        def with_visibility_fields(model, *names, **others):
            stack.enter_context(registered(type_of(model, *names, **others)))

        yield with_visibility_fields


class TestFieldsThatDecideOnReaders:
    def test_mark_the_objects_own_stream(self, ticket, with_visibility_fields):
        """
        The move is marked on the own stream only, since the readers of a collection depend on its
        owner.
        """
        with_visibility_fields(Ticket, "status", collections={"kind.project": "project"})
        ticket.status = Ticket.Status.CLOSED
        ticket.save()
        assert {
            (f"kind:{ticket.pk}", "UPDATE", True),
            (f"kind.project:{ticket.project_id}", "UPDATE", False),
        } == set(marked(object_type="kind"))
        # Another type of the same model, whose readers depend on the project.
        assert {False} == {is_move for *_, is_move in marked(object_type="ticket")}

    def test_count_as_a_change_without_a_tracker_of_theirs(self, with_visibility_fields, project):
        """
        A visibility field counts even if the tracker doesn't have it.
        """
        with_visibility_fields(Project, "created")
        project.name = "Changed"
        project.save()
        Project.objects.update(created=F("created") - F("modified") + F("created"))
        assert [(f"kind:{project.pk}", "UPDATE", is_move) for is_move in (False, True)] == marked(
            object_type="kind"
        )

    def test_are_those_of_all_types_of_a_model(self, ticket, office, with_visibility_fields):
        """
        A visibility field of one type counts as a move for other types of the same model, too.
        """
        with_visibility_fields(Ticket, shows=("project__name",))
        ticket.project = office
        ticket.save()
        assert [(f"kind:{ticket.pk}", "UPDATE", True)] == marked(object_type="kind")

    def test_are_compared_with_the_stored_row(self, ticket, with_visibility_fields):
        """
        A stale instance that changes the field back makes a move; an unchanged field doesn't.
        """
        with_visibility_fields(Ticket, "status", "assignee")
        Ticket.objects.update(status="closed")
        NotificationOutbox.objects.all().delete()
        ticket.title = "Changed"
        ticket.save()
        ticket.title = "Again"
        ticket.save()
        assert [True, False] == [is_move for *_, is_move in marked(object_type="kind")]

    def test_may_be_computed_by_the_database(self, with_visibility_fields):
        """
        A change of a generated field's sources is a move.
        """
        with_visibility_fields(Label, "upper")
        label = Label.objects.create(title="a")
        label.title = "b"
        label.save(update_fields=["title"])
        Label.objects.update(title="c")
        label.save()
        expected = [("CREATE", False), ("UPDATE", True), ("UPDATE", True), ("UPDATE", True)]
        assert expected == [tuple(row[1:]) for row in marked(object_type="kind")]

    def test_may_be_any_column(self, with_visibility_fields):
        """
        Numbers, JSON and nullable columns can decide; in JSON, 1 and true differ.
        """
        with_visibility_fields(Item, "price", "notes", "borrower")
        item = Item.objects.create(title="a", notes={"a": 1})
        for values in ({"title": "b"}, {"price": "1.5"}, {"price": "1.50"}, {"notes": {"a": True}}):
            Item(pk=item.pk, **{"title": "b", "price": "1.5", "notes": {"a": 1}, **values}).save()
        found = [is_move for *_, is_move in marked(object_type="kind")]
        assert [False, True, True] == found
