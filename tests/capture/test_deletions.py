"""Deletions are announced, cascades included, in the order of the database."""

import threading

import pytest
from django.db import DatabaseError, connections, models, transaction

from apps.tickets.models import Project, Ticket
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.types import hashids
from tests.database import payloads, wait_for_a_waiting_lock
from tests.library.models import Book, Reader, Treasure
from tests.registration import live_model

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


class TestDelete:
    def test_is_announced_with_the_id_only(self, ticket, announced):
        """
        A deletion is announced on all streams of the object, with its id only.
        """
        pk, owner = ticket.pk, ticket.project_id
        ticket.delete()
        assert [
            (f"project.tickets:{owner}", "DELETE_TICKET"),
            (f"ticket:{pk}", "DELETE_TICKET"),
        ] == announced()
        assert [{"id": hashids.encode("ticket", pk)}] * 2 == payloads()

    def test_cascades(self, ticket, project, announced):
        """
        Cascaded deletions and the deletion of the owner are announced, each once.
        """
        Ticket.objects.create(project=project, title="Second")
        payloads()
        NotificationOutbox.objects.all().delete()
        project.delete()
        payloads()
        events = [event for stream, event in announced() if stream != RIGHTS]
        assert ["DELETE_PROJECT", *["DELETE_TICKET"] * 4] == sorted(events)

    def test_by_a_stale_instance_shows_the_row_as_it_was(self, ticket, project, announced):
        """
        Deleting a stale instance is announced on the collection that the row was really in.
        """
        office = Project.objects.create(name="Office")
        Ticket.objects.filter(pk=ticket.pk).update(project=office)
        NotificationOutbox.objects.all().delete()
        pk = ticket.pk
        ticket.delete()
        assert [
            (f"project.tickets:{office.pk}", "DELETE_TICKET"),
            (f"ticket:{pk}", "DELETE_TICKET"),
        ] == announced()

    def test_of_a_proxy_with_a_child(self):
        """
        Deleting a row as a proxy and as a child's parent is announced once.
        """
        book = Book.objects.create(title="a")
        payloads()
        NotificationOutbox.objects.all().delete()
        Treasure.objects.get(pk=book.pk).delete()
        payloads()
        events = NotificationOutbox.objects.order_by("event").values_list("event", flat=True)
        assert ["DELETE_BOOK", "DELETE_ITEM"] == list(events)


def test_no_update_follows_a_deletion(ticket, announced):
    """
    A save that waits for a deletion's lock is announced after it, as the database stored it.
    """
    stale = Ticket.objects.get()
    started = threading.Event()

    def save():
        try:
            stale.title = "Deleted"
            started.set()
            stale.save(force_update=True)
        except DatabaseError:  # Django's error for a row that doesn't exist any more
            pass
        finally:
            connections.close_all()

    with transaction.atomic():
        ticket.delete()
        thread = threading.Thread(target=save)
        thread.start()
        started.wait()
        wait_for_a_waiting_lock()
    thread.join()
    assert not Ticket.objects.exists()
    assert ["DELETE_TICKET", "DELETE_TICKET"] == [event for _, event in announced()]


def test_an_object_loses_the_deleted_one(ticket, demo):
    """
    A ticket whose assignee is deleted is announced without an assignee.
    """
    ticket.assignee = demo
    ticket.save()
    payloads()
    NotificationOutbox.objects.all().delete()
    demo.delete()
    assert [None] == [row["assignee"] for row in payloads(stream=f"ticket:{ticket.pk}")]


def give_to_another(collector, field, sub_objs, using):
    """Give the deleted object's relations to the first other one, as a project's `on_delete` may."""
    heir = Reader.objects.using(using).exclude(pk__in=[one.reader_id for one in sub_objs]).first()
    collector.add_field_update(field, heir.pk, sub_objs)


def keep_the_first(collector, field, sub_objs, using):
    """Keep the first related object and delete the others, as a project's `on_delete` may."""
    kept, *others = sorted(sub_objs, key=lambda one: one.pk)
    collector.add_field_update(field, None, [kept])
    collector.collect(others, source=field.remote_field.model, source_attr=field.name)


@pytest.mark.parametrize(
    ("on_delete", "expected"),
    [
        (give_to_another, [("UPDATE_THING", "heir"), ("UPDATE_THING", "heir")]),
        (keep_the_first, [("UPDATE_THING", None), ("DELETE_THING", None)]),
        (models.SET(lambda: Reader.objects.last().pk), [("UPDATE_THING", "heir")] * 2),
    ],
    ids=["another owner", "some of each", "a value"],
)
def test_a_custom_on_delete_is_announced(on_delete, expected):
    """
    A project's own `on_delete` is announced row by row, as the database executed it.
    """
    reader, heir = (Reader.objects.create(name=name) for name in ("Ann", "Bob"))
    with live_model(reader=models.ForeignKey(Reader, on_delete, null=True)) as loan:
        for _ in range(2):
            loan.objects.create(reader=reader)
        payloads()
        NotificationOutbox.objects.all().delete()
        reader.delete()
        payloads()
        rows = NotificationOutbox.objects.order_by("object_id")
        owners = {heir.pk: "heir", None: None}
        assert expected == [(row.event, owners[row.payload.get("reader")]) for row in rows]
