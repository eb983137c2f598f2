"""Many-to-many relations: what a change of one announces is the object that shows it."""

import threading

import pytest
from django.db import connections, transaction

from apps.outbox.models import NotificationOutbox
from apps.realtime.registry import register, unregister
from apps.tickets.models import Project
from tests.database import wait_for_a_waiting_lock
from tests.library.live import BookType, ItemType
from tests.library.models import Book, Pass, Reader, Shelf, Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


class TestManyToMany:
    @pytest.fixture
    def office(self):
        office = Project.objects.create(name="Office")
        NotificationOutbox.objects.all().delete()
        return office

    def members(self):
        rows = NotificationOutbox.objects.filter(object_type="project").order_by("id")
        return [row.payload["members"] for row in rows]

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

    def test_of_a_deleted_member(self, office, demo, other):
        """
        Who is deleted is a member no longer, and everybody is told.
        """
        office.members.add(demo, other)
        NotificationOutbox.objects.all().delete()
        demo.delete()
        assert [["other"]] == [
            row.payload["members"]
            for row in NotificationOutbox.objects.filter(stream=f"project:{office.pk}")
        ]

    def test_changes_come_out_in_their_order(self, office, demo, other):
        """
        Of two members added at once, the last notification shows both.
        """
        added = threading.Event()

        def add():
            with transaction.atomic():
                office.members.add(demo)
                added.set()
                wait_for_a_waiting_lock()
            connections.close_all()

        thread = threading.Thread(target=add)
        thread.start()
        added.wait()
        office.members.add(other)
        thread.join()
        assert [["demo"], ["demo", "other"]] == self.members()


def test_is_announced_for_the_type_that_names_it(ticket):
    """
    A relation that only a child's type names changes the child, not its parent.
    """
    book_type = type("WithTags", (BookType,), {"many_to_many": ("tags",)})
    item_type = type("WithoutTags", (ItemType,), {"many_to_many": ()})
    for kind in (book_type, item_type):
        unregister(kind.name)
        register(kind)
    try:
        book, tag = Book.objects.create(title="a"), Tag.objects.create(name="t")
        NotificationOutbox.objects.all().delete()
        book.tags.add(tag)
    finally:
        for kind in (BookType, ItemType):
            unregister(kind.name)
            register(kind)
    assert ["UPDATE_BOOK"] == list(NotificationOutbox.objects.values_list("event", flat=True))


def test_a_relation_with_a_model_of_its_own(ticket):
    """
    Whatever is done to its rows announces the object that shows them: both, if it moves.
    """
    reader = Reader.objects.create(name="Ann")
    here, there = (Shelf.objects.create(name=name) for name in ("here", "there"))
    NotificationOutbox.objects.all().delete()
    Pass.objects.bulk_create([Pass(shelf=here, reader=reader)])
    card = Pass.objects.get()
    card.shelf = there
    card.save()
    Pass.objects.update(level=1)
    Pass.objects.all().delete()
    shown = NotificationOutbox.objects.order_by("id").values_list("payload", flat=True)
    assert [("here", 1), ("here", 0), ("there", 1), ("there", 1), ("there", 0)] == [
        (payload["name"], len(payload["readers"])) for payload in shown
    ]
