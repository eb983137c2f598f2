"""Upserts are announced as what the database did: an insert, or an update of the conflicting row."""

import threading

import pytest
from django.db import connections, models, transaction
from django.db.models.functions import Upper

from apps.tickets.models import Project, Ticket
from pillarbox.models import NotificationOutbox
from tests.database import payloads, wait_for_a_waiting_lock
from tests.library.models import Card, Item
from tests.registration import live_model

pytestmark = pytest.mark.django_db(transaction=True)


def upsert(objects, *, on, update="colour", **options):
    """Insert objects, or update a field of the conflicting rows."""
    return type(objects[0]).objects.bulk_create(
        objects, update_conflicts=True, unique_fields=[on], update_fields=[update], **options
    )


class StrippedField(models.CharField):
    """A text field that strips spaces at both ends on saving."""

    def pre_save(self, model_instance, add):
        return super().pre_save(model_instance, add).strip()


def generated():
    return models.GeneratedField(
        expression=Upper("name"), output_field=models.TextField(), db_persist=True, unique=True
    )


#: Fields, constraints, the value of a first object, that of a second one with which it conflicts.
CONFLICTS = {
    "filled": ({"key": models.DateField(auto_now_add=True, unique=True)}, [], {}, {}),
    "rounded": (
        {"key": models.DecimalField(max_digits=5, decimal_places=2, unique=True)},
        [],
        {"key": "1.00"},
        {"key": "1.001"},
    ),
    "stripped": ({"key": StrippedField(unique=True)}, [], {"key": "a"}, {"key": " a "}),
    "NULL": (
        {"key": models.IntegerField(null=True)},
        [models.UniqueConstraint(fields=["key"], name="one_null", nulls_distinct=False)],
        {},
        {},
    ),
    "generated": (
        {"name": models.TextField(), "key": generated()},
        [],
        {"name": "a"},
        {"name": "A"},
    ),
}


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_conflicts_that_only_the_database_sees(conflict):
    """
    The conflicting value is filled in, converted or computed on its way into the row.
    """
    fields, constraints, first, second = CONFLICTS[conflict]
    with live_model(constraints=constraints, title=models.TextField(), **fields) as thing:
        made = thing.objects.create(title="a", **first)
        upsert([thing(title="b", **second)], on="key", update="title")
        found = [row["title"] for row in payloads(object_type="thing")]
    assert ["a", "b"] == found
    rows = NotificationOutbox.objects.order_by("id").values_list("stream", "event")
    stream = f"thing:{made.pk}"
    assert [(stream, "CREATE_THING"), (stream, "UPDATE_THING")] == list(rows)


def test_a_conflict_that_moves_the_object():
    """
    A row moved by an upsert leaves its old collection and is shown as stored.
    """
    old, new = (Project.objects.create(name=name) for name in "ab")
    ticket = Ticket.objects.create(project=old, title="a")
    payloads()
    NotificationOutbox.objects.all().delete()
    upsert([Ticket(pk=ticket.pk, project=new, title="b")], on="id", update="project")
    events = dict(NotificationOutbox.objects.values_list("stream", "event"))
    assert {
        f"ticket:{ticket.pk}": "UPDATE_TICKET",
        f"project.tickets:{old.pk}": "DELETE_TICKET",
        f"project.tickets:{new.pk}": "CREATE_TICKET",
        "rights": "UPDATE_TICKET",
    } == events
    assert ["a"] == [row["title"] for row in payloads(stream=f"ticket:{ticket.pk}")]


def test_some_objects_are_new():
    """
    With a conflict on the key, objects without a key are new.
    """
    item = Item.objects.create(title="a")
    payloads()
    NotificationOutbox.objects.all().delete()
    upsert([Item(pk=item.pk, title="b"), Item(title="c")], on="pk", update="title")
    payloads()
    rows = NotificationOutbox.objects.filter(object_type="item").order_by("event")
    assert [("CREATE_ITEM", "c"), ("UPDATE_ITEM", "b")] == list(
        rows.values_list("event", "payload__title")
    )


def test_one_row_twice():
    """
    A row inserted and updated by one call is announced as created, then as changed.
    """
    upsert([Card(number=5, colour=c) for c in ("red", "blue")], on="number", batch_size=1)
    payloads()
    rows = NotificationOutbox.objects.order_by("id").values_list("event", "payload__colour")
    assert [("CREATE_CARD", "red"), ("UPDATE_CARD", "blue")] == list(rows)


def test_a_row_that_another_writer_inserts_first():
    """
    A row inserted while the upsert waits is announced as updated, not created.
    """

    def work():
        upsert([Card(number=1, colour="blue"), Card(number=2)], on="number")
        connections.close_all()

    thread = threading.Thread(target=work)
    with transaction.atomic():
        first = Card.objects.create(number=1)
        thread.start()
        wait_for_a_waiting_lock()
    thread.join()
    events = NotificationOutbox.objects.filter(object_id=str(first.pk)).order_by("id")
    assert ["CREATE_CARD", "UPDATE_CARD"] == list(events.values_list("event", flat=True))
