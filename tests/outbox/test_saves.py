"""A save announces what the database will hold, if and only if it commits."""

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connections, transaction

from apps.outbox.exceptions import PayloadError
from apps.outbox.models import NotificationOutbox
from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import TicketSerializer
from tests.database import payloads, update
from tests.law import assert_law
from tests.library.models import Book, Card, Node

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


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
