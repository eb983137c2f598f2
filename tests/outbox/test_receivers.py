"""What receivers of Django's signals do to an object that is being saved or deleted."""

import copy
import pickle
from contextlib import contextmanager, suppress

import pytest
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from apps.outbox.exceptions import PayloadError
from apps.outbox.models import NotificationOutbox
from apps.tickets.models import Project, Ticket
from tests.database import payloads, update
from tests.law import assert_law
from tests.library.models import Item, Node, Shelf

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


@contextmanager
def receiving(signal, receiver, model=Ticket):
    """For as long, the model's signal is received."""
    signal.connect(receiver, sender=model, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=model)


class TestSave:
    """To an object that is being saved."""

    def test_change_it_before(self, ticket, announced):
        """
        A change that only a receiver makes is a change.
        """

        def close(instance, **_):
            instance.status = "closed"

        with receiving(pre_save, close):
            ticket.save()
        assert update(ticket) == announced()
        assert "closed" == payloads()[-1]["status"]

    def test_move_it_before(self, ticket, announced):
        """
        A move that a receiver makes is a move, whatever the instance was when it was saved.
        """
        office = Project.objects.create(name="Office")
        left = ticket.project_id
        NotificationOutbox.objects.all().delete()

        def move(instance, **_):
            instance.project = office

        ticket.title = "Changed"
        with receiving(pre_save, move):
            ticket.save()
        assert (f"project.tickets:{left}", "DELETE_TICKET") in announced()
        assert (f"project.tickets:{office.pk}", "CREATE_TICKET") in announced()

    def test_change_its_row_afterwards(self, ticket):
        """
        What a receiver writes to the row comes after the save, and is announced last.
        """

        def raise_priority(instance, **_):
            Ticket.objects.filter(pk=instance.pk).update(priority=3)

        ticket.title = "Changed"
        with receiving(post_save, raise_priority):
            ticket.save()
        assert [2, 2, 3, 3] == [payload["priority"] for payload in payloads()]

    @pytest.mark.parametrize("signal", [pre_save, post_save], ids=["before", "after"])
    def test_save_it_again(self, ticket, signal):
        """
        A save within a save is one of its own; the outer one is announced as well.
        """

        def save_again(instance, **_):
            if instance.status == "open":
                instance.status = "closed"
                instance.save(update_fields=["status"])
                instance.title = "Again"

        ticket.title = "Changed"
        with receiving(signal, save_again):
            ticket.save()
        stored = Ticket.objects.get()
        last = payloads()[-1]
        assert (stored.title, stored.status) == (last["title"], last["status"])
        assert 4 == len(payloads())

    def test_fail_to_save_it_again(self, ticket, announced):
        """
        A save within a save that is refused leaves the outer one as it was.
        """

        def save_nonsense(instance, **_):
            instance.title = "a\x00"
            with suppress(PayloadError):
                instance.save()
            instance.title = "Changed again"

        ticket.title = "Changed"
        with receiving(pre_save, save_nonsense):
            ticket.save()
        assert update(ticket) == announced()

    @pytest.mark.parametrize("signal", [pre_save, post_save], ids=["before", "after"])
    def test_copy_it(self, ticket, signal):
        """
        An instance that is being saved can be pickled and copied as ever.
        """
        copies = []

        def keep(instance, **_):
            copies.extend([pickle.loads(pickle.dumps(instance)), copy.deepcopy(instance)])

        ticket.title = "Changed"
        with receiving(signal, keep):
            ticket.save()
        assert ["Changed"] * 2 == [found.title for found in copies]

    def test_change_another_object_first(self):
        """
        What a receiver of post_save does to others comes after the save, in the order it was done.
        """
        shelf = Shelf(name="s")

        def fill(instance, **_):
            Item.objects.create(title="a", shelf=instance)

        with receiving(post_save, fill, Shelf):
            shelf.save()
        events = NotificationOutbox.objects.filter(stream=f"shelf:{shelf.pk}").order_by("id")
        assert ["CREATE_SHELF", "UPDATE_SHELF"] == list(events.values_list("event", flat=True))
        assert_law("shelf", "item")


class TestDelete:
    """What others do to a row that is about to be deleted, or has just been."""

    def test_a_foreign_key_that_decides_is_set_to_null_first(self, ticket):
        """
        A tree that is deleted at once: each node is gone once from wherever it was.
        """
        root = Node.objects.create(name="root")
        child = Node.objects.create(name="child", parent=root)
        Node.objects.create(name="leaf", parent=child)
        Node.objects.all().delete()
        rows = NotificationOutbox.objects.filter(event="DELETE_NODE").values_list(
            "stream", flat=True
        )
        assert len(set(rows)) == len(rows)
        assert_law("node")

    def test_move_it_before(self, ticket):
        """
        A row that a receiver of pre_delete moves is gone from where it then is.
        """
        office = Project.objects.create(name="Office")

        def move(instance, **_):
            instance.project = office
            instance.save()

        with receiving(pre_delete, move):
            ticket.delete()
        rows = NotificationOutbox.objects.filter(stream=f"project.tickets:{office.pk}")
        assert ["CREATE_TICKET", "DELETE_TICKET"] == list(
            rows.order_by("id").values_list("event", flat=True)
        )

    def test_delete_it_before(self, ticket):
        """
        A row that a receiver deletes is gone once.
        """

        def delete(instance, **_):
            pre_delete.disconnect(delete, sender=Ticket)
            Ticket.objects.filter(pk=instance.pk).delete()

        pre_delete.connect(delete, sender=Ticket)
        ticket.delete()
        assert 2 == NotificationOutbox.objects.filter(event="DELETE_TICKET").count()

    @pytest.mark.parametrize("moves", [True, False], ids=["move", "delete"])
    def test_take_back_what_they_did_before(self, ticket, moves, announced):
        """
        A move or a deletion by a receiver that is rolled back changes nothing of the deletion around it.
        """
        office = Project.objects.create(name="Office")
        left, pk, done = ticket.project_id, ticket.pk, []
        NotificationOutbox.objects.all().delete()

        def attempt(instance, **_):
            if not done:
                done.append(instance)
                with suppress(ZeroDivisionError), transaction.atomic():
                    tickets = Ticket.objects.filter(pk=instance.pk)
                    tickets.update(project=office) if moves else tickets.delete()
                    raise ZeroDivisionError

        with receiving(pre_delete, attempt):
            ticket.delete()
        streams = (f"project.tickets:{left}", f"ticket:{pk}")
        assert {(stream, "DELETE_TICKET") for stream in streams} == set(announced())

    def test_bring_it_back_afterwards(self, ticket):
        """
        A row that a receiver of post_delete inserts again is there, and new.
        """

        def bring_back(instance, **_):
            Ticket(pk=instance.pk, project=instance.project, title="Back").save()

        with receiving(post_delete, bring_back):
            ticket.delete()
        events = NotificationOutbox.objects.order_by("id").values_list("event", flat=True)
        assert ["DELETE_TICKET"] * 2 + ["CREATE_TICKET"] * 2 == list(events)
