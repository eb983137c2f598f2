"""Receivers of Django's signals that change an object while it is saved or deleted."""

from contextlib import contextmanager, suppress

import pytest
from django.db import IntegrityError, transaction
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from apps.tickets.models import Project, Ticket
from pillarbox.models import NotificationOutbox
from tests.database import payloads, update
from tests.law import assert_law
from tests.library.models import Card, Item, Node, Shelf, Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


@contextmanager
def receiving(signal, receiver, model=Ticket):
    """Connect a receiver to the model's signal within the block."""
    signal.connect(receiver, sender=model, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=model)


class TestSave:
    """Receivers during a save."""

    def test_change_it_before(self, ticket, announced):
        """
        A change made only by a receiver is announced.
        """

        def close(instance, **_):
            instance.status = "closed"

        with receiving(pre_save, close):
            ticket.save()
        assert update(ticket) == announced()
        assert "closed" == payloads()[-1]["status"]

    def test_move_it_before(self, ticket, announced):
        """
        A move made by a receiver is announced as a move.
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
        A receiver's write to the row comes after the save, and is announced last.
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
        A save within a save is announced separately, and so is the outer one.
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
        A refused save within a save leaves the outer one unchanged.
        """

        def save_nonsense(instance, **_):
            if instance.priority != "high":
                instance.priority = "high"
                with suppress(ValueError):
                    instance.save()
                instance.priority = 2

        ticket.title = "Changed"
        with receiving(pre_save, save_nonsense):
            ticket.save()
        assert update(ticket) == announced()

    def test_begin_a_transaction_that_must_be_the_outermost(self, announced, django_user_model):
        """
        In autocommit no transaction is open after a save, for live and other models.
        """
        opened = []

        def begin(instance, **_):
            with transaction.atomic(durable=True):
                opened.append(instance)

        for model in (Shelf, django_user_model):
            with receiving(post_save, begin, model):
                model().save()
        assert 2 == len(opened)

    def test_catch_an_error_of_the_database(self, announced):
        """
        In autocommit a failed statement whose error is caught fails alone.
        """

        def create_twice(instance, **_):
            with suppress(IntegrityError):
                Card.objects.create(number=1)
            Tag.objects.create(name="after")

        Card.objects.create(number=1)
        with receiving(post_save, create_twice, Shelf):
            shelf = Shelf.objects.create(name="s")
        assert Tag.objects.exists()
        assert (f"shelf:{shelf.pk}", "CREATE_SHELF") == announced()[-1]

    def test_change_another_object_first(self):
        """
        Changes of other objects by a receiver of post_save are announced after the save, in order.
        """
        shelf = Shelf(name="s")

        def fill(instance, **_):
            Item.objects.create(title="a", shelf=instance)

        with receiving(post_save, fill, Shelf):
            shelf.save()
        shown = payloads(stream=f"shelf:{shelf.pk}")
        assert ["a"] == shown[-1]["items"]
        assert_law("shelf", "item")


class TestDelete:
    """Receivers before and after a deletion."""

    def test_a_foreign_key_that_decides_is_set_to_null_first(self, ticket):
        """
        When a tree is deleted at once, each node's deletion is announced once per stream.
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
        A row moved by a receiver of pre_delete is deleted from its new collection.
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
        A row deleted by a receiver is announced as deleted once.
        """

        def delete(instance, **_):
            pre_delete.disconnect(delete, sender=Ticket)
            Ticket.objects.filter(pk=instance.pk).delete()

        pre_delete.connect(delete, sender=Ticket)
        ticket.delete()
        assert 2 == NotificationOutbox.objects.filter(event="DELETE_TICKET").count()

    @pytest.mark.parametrize("moves", [True, False], ids=["move", "delete"])
    def test_roll_back_their_change_before(self, ticket, moves, announced):
        """
        A receiver's rolled-back move or deletion doesn't change the deletion around it.
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
        A row inserted again by a receiver of post_delete is announced as created.
        """

        def bring_back(instance, **_):
            Ticket(pk=instance.pk, project=instance.project, title="Back").save()

        with receiving(post_delete, bring_back):
            ticket.delete()
        events = NotificationOutbox.objects.order_by("id").values_list("event", flat=True)
        assert ["DELETE_TICKET"] * 2 + ["CREATE_TICKET"] * 2 == list(events)
