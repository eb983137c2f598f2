"""Erasure of the rows of other objects that show an object, by the declarations and relations at present."""

import pytest
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS

from apps.tickets.models import Project, Ticket
from pillarbox.erasure.showing import objects_showing
from pillarbox.live import erase
from pillarbox.models import RIGHTS, NotificationOutbox
from tests.library.models import Book, Item, Node, Reader, Series, SeriesTag, Shelf, Tag, Volume
from tests.rendering import number_all

pytestmark = pytest.mark.django_db(transaction=True)


def showing(*rows):
    """Return the objects that show rows of one model."""
    found = objects_showing(type(rows[0]), [row.pk for row in rows], DEFAULT_DB_ALIAS)
    return sorted((model.__name__, pk) for model, pk in found)


def rendered():
    """Render all rows, and return the objects with rows that have more than an id in their payloads."""
    number_all()
    rows = NotificationOutbox.objects.exclude(stream=RIGHTS).exclude(payload=None)
    return {(row.object_type, row.object_id) for row in rows if {"id"} < {*row.payload}}


def names():
    """Return what the outbox has of payloads and images, as text."""
    return str([*NotificationOutbox.objects.values_list("payload", "image")])


class TestUsers:
    @pytest.fixture(autouse=True)
    def assigned(self, ticket, demo):
        """Assign the ticket to demo, who is a member of its project."""
        Ticket.objects.filter(pk=ticket.pk).update(assignee=demo)

    @pytest.fixture
    def others(self, project, other):
        """Make a project and a ticket that show another user only. Return their types and keys."""
        theirs = Project.objects.create(name="Other")
        theirs.members.add(other)
        ticket = Ticket.objects.create(project=project, title="Other", assignee=other)
        return {("project", f"{theirs.pk}"), ("ticket", f"{ticket.pk}")}

    def test_whose_names_are_shown(self, ticket, demo, others):
        """
        Rows of a user's tickets and projects have the name. They are erased, and those of others stay.
        """
        own = {("project", f"{ticket.project_id}"), ("ticket", f"{ticket.pk}")}
        assert own | others == rendered()
        get_user_model().objects.filter(pk=demo.pk).update(username="anonymous")
        assert own <= rendered()
        assert "'demo'" in names()
        done = erase("me", demo.pk)
        assert (0, 2) == (done.left, done.subject.showing)
        assert others == rendered()
        assert "'demo'" not in names()

    def test_that_are_deleted(self, ticket, demo):
        """
        What showed a deleted user isn't known any more. It is erased by its own key.
        """
        rendered()
        pk = demo.pk
        demo.delete()
        assert 0 == erase("me", pk).subject.showing
        another = Ticket.objects.create(project=ticket.project, title="Another")
        assert {("ticket", f"{ticket.pk}"), ("ticket", f"{another.pk}")} <= rendered()
        assert "'demo'" in names()
        erase("ticket", ticket.pk, another.pk)
        erase("project", ticket.project_id)
        assert set() == rendered()

    def test_none(self):
        """
        Without a key, nothing is erased.
        """
        before = rendered()
        assert 0 == erase("me").erased
        assert before == rendered()


def test_by_any_relation():
    """
    Objects are found along foreign keys, their reverse relations, and many-to-many fields.
    """
    reader, tag = Reader.objects.create(name="a"), Tag.objects.create(name="b")
    item, shelf = Item.objects.create(title="c"), Shelf.objects.create(name="d")
    Item.objects.create(title="e", shelf=shelf, borrower=reader)
    shelf.readers.add(reader)
    item.tags.add(tag)
    assert [("Shelf", shelf.pk)] == showing(reader)
    assert [("Item", item.pk)] == showing(tag)
    assert [] == showing(item)


def test_that_show_everything_of_one_that_shows_it():
    """
    Of a shelf that shows everything of its items, the payload has the items' tags.
    """
    shelf, tag = Shelf.objects.create(name="a"), Tag.objects.create(name="b")
    book = Book.objects.create(title="c", shelf=shelf)
    book.tags.add(tag)
    assert [("Item", book.pk), ("Shelf", shelf.pk)] == showing(tag)
    assert [("Shelf", shelf.pk)] == showing(book)


def test_that_show_a_column_of_one_that_shows_it():
    """
    A payload with a column of an object has nothing of the rows that this object shows.
    """
    series, tag = Series.objects.create(code="a"), Tag.objects.create(name="b")
    Volume.objects.create(title="c", series=series)
    SeriesTag.objects.create(series=series, tag=tag)
    assert [("Series", series.pk)] == showing(tag)


def test_in_a_circle():
    """
    Each object is found once, and never the object itself.
    """
    one = Node.objects.create(name="a")
    other = Node.objects.create(name="b", parent=one)
    Node.objects.filter(pk=one.pk).update(parent=other)
    assert [("Node", other.pk)] == showing(one)
