"""A change of what decides where an object is, or who may see it, is marked where the object stays."""

import pytest
from django.db.models import F

from apps.outbox.models import NotificationOutbox
from apps.realtime.registry import ObjectType, register, unregister
from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from tests.database import statements
from tests.library.models import Book, Item, Label, Node, Parcel, Shelf

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


def kind_of(model, *deciding, **names):
    """Return a type of a model's objects, in no collection, for whose sight some fields decide."""
    meta = type("Meta", (), {"model": model, "fields": []})
    serializer = type("Serializer", (TicketType.serializer_class,), {"Meta": meta})
    values = {"name": "kind", "serializer_class": serializer, "deciding": deciding, **names}
    return type("Kind", (ObjectType,), {"payload": lambda self, row: {}, **values})


@pytest.fixture
def deciding():
    """Register a type whose objects are seen, or not, by what is in some fields."""
    found = []

    def deciding(model, *names, **others):
        found.append(register(kind_of(model, *names, **others)))

    yield deciding
    for kind in found:
        unregister(kind.name)


class TestFieldsThatDecideWhoSees:
    def test_mark_the_objects_own_stream(self, ticket, deciding):
        """
        Nothing is left and nothing entered; who reads the collection is its owner's affair.
        """
        deciding(Ticket, "status", collections={"kind.project": "project"})
        ticket.status = Ticket.Status.CLOSED
        ticket.save()
        assert {
            (f"kind:{ticket.pk}", "UPDATE", True),
            (f"kind.project:{ticket.project_id}", "UPDATE", False),
        } == set(marked(object_type="kind"))
        # Another type of the same objects is seen by whoever sees the project.
        assert {False} == {is_move for *_, is_move in marked(object_type="ticket")}

    def test_count_as_a_change_without_a_tracker_of_theirs(self, deciding, project):
        """
        A field that the tracker leaves out is looked at, if it decides.
        """
        deciding(Project, "created")
        project.name = "Changed"
        project.save()
        Project.objects.update(created=F("created") - F("modified") + F("created"))
        assert [(f"kind:{project.pk}", "UPDATE", is_move) for is_move in (False, True)] == marked(
            object_type="kind"
        )

    def test_are_changed_by_one_update(self, project, deciding):
        """
        Where nobody remembers such a field, the row is read first: it isn't updated twice.
        """
        deciding(Project, "created")
        project.name, project.created = "Changed", project.created.replace(year=2000)
        assert 1 == statements(project.save).count("UPDATE")
        assert [True] == [is_move for *_, is_move in marked(object_type="kind")]

    def test_are_those_of_all_types_of_a_model(self, ticket, office, deciding):
        """
        What decides who sees an object as one type decides who sees it as another.
        """
        deciding(Ticket, also=("project",))
        ticket.project = office
        ticket.save()
        assert [(f"kind:{ticket.pk}", "UPDATE", True)] == marked(object_type="kind")

    def test_are_compared_with_what_is_stored(self, ticket, deciding):
        """
        A stale instance that changes another field takes this one back, and is told from one that isn't.
        """
        deciding(Ticket, "status", "assignee")
        Ticket.objects.update(status="closed")
        NotificationOutbox.objects.all().delete()
        ticket.title = "Changed"
        ticket.save()
        ticket.title = "Again"
        ticket.save()
        assert [True, False] == [is_move for *_, is_move in marked(object_type="kind")]

    def test_cost_no_read(self, ticket, deciding):
        """
        That they have not changed is asked of the UPDATE itself.
        """
        deciding(Ticket, "status", "priority")
        ticket.title = "Changed"
        assert ["BEGIN", "UPDATE", "INSERT", "COMMIT"] == statements(ticket.save)

    def test_may_be_such_as_no_condition_can_ask_for(self, deciding):
        """
        A column of one's own, without lookups, is read and compared.
        """
        deciding(Parcel, "seal")
        parcel = Parcel.objects.create(title="a", seal="x")
        parcel.title = "b"
        parcel.save()
        Parcel.objects.update(seal="y")
        parcel.title = "c"
        parcel.save()
        assert [False, False, True, True] == [is_move for *_, is_move in marked()]

    def test_may_be_computed_by_the_database(self, deciding):
        """
        Whatever changes what it is computed from, moves.
        """
        deciding(Label, "upper")
        label = Label.objects.create(title="a")
        label.title = "b"
        label.save(update_fields=["title"])
        Label.objects.update(title="c")
        label.save()
        expected = [("CREATE", False), ("UPDATE", True), ("UPDATE", True), ("UPDATE", True)]
        assert expected == [tuple(row[1:]) for row in marked(object_type="kind")]

    def test_may_be_any_column(self, deciding):
        """
        Numbers, JSON and what may be null decide as well; in JSON, 1 and true are two.
        """
        deciding(Item, "price", "notes", "borrower")
        item = Item.objects.create(title="a", notes={"a": 1})
        for values in ({"title": "b"}, {"price": "1.5"}, {"price": "1.50"}, {"notes": {"a": True}}):
            Item(pk=item.pk, **{"title": "b", "price": "1.5", "notes": {"a": 1}, **values}).save()
        found = [is_move for *_, is_move in marked(object_type="kind")]
        assert [False, True, True] == found
