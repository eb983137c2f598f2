"""Every way in which the ORM writes, with every way in which a transaction can end."""

import uuid
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync
from django.core import serializers
from django.db import connection, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import F

from pillarbox.models import RIGHTS, NotificationOutbox
from tests.library.models import (
    Book,
    Card,
    GoldCard,
    Item,
    Node,
    Pass,
    Reader,
    Shelf,
    Tag,
    Treasure,
)
from tests.rendering import render_all

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world():
    """Create an item on no shelf, one on a shelf, and one object of each other type."""
    reader = Reader.objects.create(name="Ann")
    shelf = Shelf.objects.create(name="full")
    world = SimpleNamespace(
        reader=reader,
        tag=Tag.objects.create(name="new"),
        shelf=shelf,
        empty=Shelf.objects.create(name="empty"),
        item=Item.objects.create(title="loose"),
        shelved=Item.objects.create(title="shelved", shelf=shelf),
        book=Book.objects.create(title="book"),
        card=Card.objects.create(number=1),
        lent=Item.objects.create(title="lent", borrower=reader),
        kept=Item.objects.create(title="kept", keeper=reader),
    )
    NotificationOutbox.objects.all().delete()
    return world


def set_(instance, **values):
    for name, value in values.items():
        setattr(instance, name, value)
    return instance


def saved(instance, *, options=None, **values):
    set_(instance, **values).save(**(options or {}))


def fixture(instance):
    (found,) = serializers.deserialize("python", serializers.serialize("python", [instance]))
    found.save()


def sql(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


def copy(_):
    with connection.cursor() as cursor, cursor.copy("COPY library_node (name) FROM STDIN") as rows:
        for name in "xy":
            rows.write_row([name])


def historical(model):
    """Return a model as a data migration has it, with its fields only."""
    state = ProjectState()
    state.add_model(ModelState.from_model(model))
    return state.apps.get_model(model._meta.label_lower)


MERGE = """
MERGE INTO library_card USING (VALUES (1)) AS given (number) ON library_card.number = given.number
WHEN MATCHED THEN UPDATE SET colour = 'x'
"""


async def abulk_create(items):
    await Item.objects.abulk_create(items)


ON_SHELF = ["UPDATE_ITEM", "UPDATE_ITEM", "UPDATE_SHELF"]
NEW_ON_SHELF = ["CREATE_ITEM", "CREATE_ITEM", "UPDATE_SHELF"]
GONE_FROM_SHELF = ["DELETE_ITEM", "DELETE_ITEM", "UPDATE_SHELF"]

#: Description of a write → the write, and the events that it announces.
PATHS = {
    # Saves
    "save, created": (lambda w: Item(title="x").save(), ["CREATE_ITEM"]),
    "save, forced": (lambda w: Item(title="x").save(force_insert=True), ["CREATE_ITEM"]),
    "save, in a collection": (lambda w: Item(title="x", shelf=w.shelf).save(), NEW_ON_SHELF),
    "save, changed": (lambda w: saved(w.item, title="x"), ["UPDATE_ITEM"]),
    "save, forced update": (
        lambda w: saved(w.item, title="x", options={"force_update": True}),
        ["UPDATE_ITEM"],
    ),
    "save, unchanged": (lambda w: w.item.save(), []),
    "save, unchanged but for its time": (lambda w: w.empty.save(), ["UPDATE_SHELF"]),
    "save, update_fields as list": (
        lambda w: saved(w.item, title="x", options={"update_fields": ["title"]}),
        ["UPDATE_ITEM"],
    ),
    "save, update_fields as set": (
        lambda w: saved(w.item, title="x", options={"update_fields": {"title"}}),
        ["UPDATE_ITEM"],
    ),
    "save, update_fields of others": (
        lambda w: saved(w.item, title="x", options={"update_fields": ["count"]}),
        [],
    ),
    "save, update_fields empty": (
        lambda w: saved(w.item, title="x", options={"update_fields": []}),
        [],
    ),
    "save, update_fields by column": (
        lambda w: saved(
            w.card, holder=w.reader, colour="x", options={"update_fields": ["holder_id"]}
        ),
        [],
    ),
    "save, deferred fields": (
        lambda w: saved(Item.objects.only("title").get(pk=w.item.pk), title="x"),
        ["UPDATE_ITEM"],
    ),
    "save, deferred and assigned": (
        lambda w: saved(Item.objects.defer("title").get(pk=w.item.pk), title="x"),
        ["UPDATE_ITEM"],
    ),
    "save, with an expression": (lambda w: saved(w.item, count=F("count") + 1), ["UPDATE_ITEM"]),
    "save, moved": (
        lambda w: saved(w.shelved, shelf=w.empty),
        ["CREATE_ITEM", "DELETE_ITEM", "UPDATE_ITEM", "UPDATE_SHELF", "UPDATE_SHELF"],
    ),
    "save, tracked field": (lambda w: saved(w.card, colour="blue"), ["UPDATE_CARD"]),
    "save, tracked field of a proxy": (
        lambda w: saved(GoldCard.objects.get(pk=w.card.pk), colour="blue"),
        ["UPDATE_CARD"],
    ),
    "save, untracked field": (lambda w: saved(w.card, scratches=1), []),
    "save, UUID key": (lambda w: Card(number=2).save(), ["CREATE_CARD"]),
    "save, of a proxy": (
        lambda w: saved(Treasure.objects.get(pk=w.item.pk), title="x"),
        ["UPDATE_ITEM"],
    ),
    "save, of a child": (lambda w: saved(w.book, title="x"), ["UPDATE_BOOK", "UPDATE_ITEM"]),
    "save, of a child's own field": (lambda w: saved(w.book, pages=1), ["UPDATE_BOOK"]),
    "save, of a parent": (
        lambda w: saved(Item.objects.get(pk=w.book.pk), title="x"),
        ["UPDATE_BOOK", "UPDATE_ITEM"],
    ),
    "save, new child": (lambda w: Book(title="x").save(), ["CREATE_BOOK", "CREATE_ITEM"]),
    "save, new child of a stored parent": (
        lambda w: Book(item_ptr=w.item, title="loose").save(),
        ["CREATE_BOOK"],
    ),
    "save, after a deletion elsewhere": (
        lambda w: (Item.objects.get(pk=w.item.pk).delete(), saved(w.item, title="x")),
        ["CREATE_ITEM", "DELETE_ITEM"],
    ),
    "save, three times": (
        lambda w: [saved(w.item, title=title) for title in "abc"],
        ["UPDATE_ITEM"] * 3,
    ),
    "save, after select_for_update": (
        lambda w: transaction.atomic(
            lambda: saved(Item.objects.select_for_update().get(pk=w.item.pk), title="x")
        )(),
        ["UPDATE_ITEM"],
    ),
    "asave": (lambda w: async_to_sync(set_(w.item, title="x").asave)(), ["UPDATE_ITEM"]),
    "create": (lambda w: Item.objects.create(title="x"), ["CREATE_ITEM"]),
    "get_or_create, got": (lambda w: Card.objects.get_or_create(number=1), []),
    "get_or_create, created": (lambda w: Card.objects.get_or_create(number=2), ["CREATE_CARD"]),
    "update_or_create, updated": (
        lambda w: Card.objects.update_or_create({"colour": "x"}, number=1),
        ["UPDATE_CARD"],
    ),
    "update_or_create, created": (
        lambda w: Card.objects.update_or_create({"colour": "x"}, number=2),
        ["CREATE_CARD"],
    ),
    "fixture": (lambda w: fixture(set_(w.item, title="x")), ["UPDATE_ITEM"]),
    # Deletions
    "delete": (lambda w: w.item.delete(), ["DELETE_ITEM"]),
    "adelete": (lambda w: async_to_sync(w.item.adelete)(), ["DELETE_ITEM"]),
    "delete, of a proxy": (
        lambda w: Treasure.objects.get(pk=w.item.pk).delete(),
        ["DELETE_ITEM"],
    ),
    "delete, of a child": (lambda w: w.book.delete(), ["DELETE_BOOK", "DELETE_ITEM"]),
    "delete, of a child only": (lambda w: w.book.delete(keep_parents=True), ["DELETE_BOOK"]),
    "delete, of a parent": (
        lambda w: Item.objects.get(pk=w.book.pk).delete(),
        ["DELETE_BOOK", "DELETE_ITEM"],
    ),
    "delete, cascading": (
        lambda w: w.shelf.delete(),
        ["DELETE_ITEM", "DELETE_ITEM", "DELETE_SHELF"],
    ),
    "delete, SET_NULL and SET_DEFAULT": (lambda w: w.reader.delete(), ["UPDATE_ITEM"] * 2),
    "delete, twice": (
        lambda w: (Item.objects.get(pk=w.item.pk).delete(), w.item.delete()),
        ["DELETE_ITEM"],
    ),
    "QuerySet.delete": (
        lambda w: Item.objects.filter(title__in=["loose", "shelved"]).delete(),
        ["DELETE_ITEM", *GONE_FROM_SHELF],
    ),
    # Bulk writes
    "bulk_create": (
        lambda w: Item.objects.bulk_create([Item(title=t) for t in "abc"], batch_size=2),
        ["CREATE_ITEM"] * 3,
    ),
    "bulk_create, of a proxy": (
        lambda w: Treasure.objects.bulk_create([Treasure(title="x")]),
        ["CREATE_ITEM"],
    ),
    "bulk_create, of nothing": (lambda w: Item.objects.bulk_create([]), []),
    "abulk_create": (
        lambda w: async_to_sync(abulk_create)([Item(title="x")]),
        ["CREATE_ITEM"],
    ),
    "bulk_create, update_conflicts": (
        lambda w: Card.objects.bulk_create(
            [Card(number=1, colour="x"), Card(number=2)],
            update_conflicts=True,
            unique_fields=["number"],
            update_fields=["colour"],
        ),
        ["CREATE_CARD", "UPDATE_CARD"],
    ),
    "bulk_create, update_conflicts on the key": (
        lambda w: Card.objects.bulk_create(
            [Card(pk=w.card.pk, number=1, colour="x")],
            update_conflicts=True,
            unique_fields=["pk"],
            update_fields=["colour"],
        ),
        ["UPDATE_CARD"],
    ),
    "bulk_create, update_conflicts without a change": (
        lambda w: Card.objects.bulk_create(
            [Card(number=1)],
            update_conflicts=True,
            unique_fields=["number"],
            update_fields=["colour"],
        ),
        [],
    ),
    "bulk_create, ignore_conflicts": (
        lambda w: Card.objects.bulk_create(
            [Card(number=1, colour="x"), Card(number=2)], ignore_conflicts=True
        ),
        ["CREATE_CARD"],
    ),
    "bulk_update": (
        lambda w: Item.objects.bulk_update(
            [set_(w.item, title="x"), set_(w.shelved, title="x")], ["title"]
        ),
        ["UPDATE_ITEM", *ON_SHELF],
    ),
    "QuerySet.update": (
        lambda w: Item.objects.filter(pk=w.item.pk).update(title="x"),
        ["UPDATE_ITEM"],
    ),
    "aupdate": (
        lambda w: async_to_sync(Item.objects.filter(pk=w.item.pk).aupdate)(title="x"),
        ["UPDATE_ITEM"],
    ),
    "QuerySet.update, with an expression": (
        lambda w: Item.objects.filter(pk=w.item.pk).update(count=F("count") + 1),
        ["UPDATE_ITEM"],
    ),
    "QuerySet.update, without a change": (lambda w: Item.objects.update(count=0), []),
    "QuerySet.update, untracked": (lambda w: Card.objects.update(scratches=1), []),
    "QuerySet.update, moved": (
        lambda w: Item.objects.filter(pk=w.shelved.pk).update(shelf=w.empty),
        ["CREATE_ITEM", "DELETE_ITEM", "UPDATE_ITEM", "UPDATE_SHELF", "UPDATE_SHELF"],
    ),
    "QuerySet.update, of a child": (
        lambda w: Book.objects.update(title="x", pages=1),  # two statements
        ["UPDATE_BOOK", "UPDATE_BOOK", "UPDATE_ITEM"],
    ),
    "QuerySet.update, of a parent": (
        lambda w: Item.objects.filter(book__isnull=False).update(title="x"),
        ["UPDATE_BOOK", "UPDATE_ITEM"],
    ),
    "QuerySet.update, by the base manager": (
        lambda w: Item._base_manager.filter(pk=w.item.pk).update(title="x"),
        ["UPDATE_ITEM"],
    ),
    "QuerySet.update, of the primary key": (
        lambda w: Card.objects.update(id=uuid.uuid4()),
        ["CREATE_CARD", "DELETE_CARD"],
    ),
    "QuerySet._raw_delete": (
        lambda w: Item.objects.filter(pk=w.item.pk)._raw_delete("default"),
        ["DELETE_ITEM"],
    ),
    # SQL
    "INSERT": (lambda w: sql("INSERT INTO library_node (name) VALUES ('x')"), ["CREATE_NODE"]),
    "UPDATE": (lambda w: sql("UPDATE library_card SET colour = 'x'"), ["UPDATE_CARD"]),
    "UPDATE, without a change": (lambda w: sql("UPDATE library_card SET colour = colour"), []),
    "MERGE": (lambda w: sql(MERGE), ["UPDATE_CARD"]),
    "COPY": (copy, ["CREATE_NODE"] * 2),
    "data migration": (lambda w: historical(Node).objects.create(name="x"), ["CREATE_NODE"]),
    # Related managers
    "foreign key, add": (lambda w: w.shelf.items.add(w.item), [*NEW_ON_SHELF[1:], "UPDATE_ITEM"]),
    "foreign key, add without bulk": (
        lambda w: w.shelf.items.add(w.item, bulk=False),
        [*NEW_ON_SHELF[1:], "UPDATE_ITEM"],
    ),
    "foreign key, create": (lambda w: w.shelf.items.create(title="x"), NEW_ON_SHELF),
    "foreign key, remove": (
        lambda w: w.shelf.items.remove(w.shelved),
        ["UPDATE_ITEM", *GONE_FROM_SHELF[1:]],
    ),
    "foreign key, clear": (lambda w: w.shelf.items.clear(), ["UPDATE_ITEM", *GONE_FROM_SHELF[1:]]),
    "foreign key, set": (
        lambda w: w.shelf.items.set([w.item]),
        ["UPDATE_ITEM", "UPDATE_ITEM", "CREATE_ITEM", "DELETE_ITEM", "UPDATE_SHELF"],
    ),
    "many-to-many, add": (lambda w: w.item.tags.add(w.tag), ["UPDATE_ITEM"]),
    "many-to-many, add from the other side": (lambda w: w.tag.items.add(w.item), ["UPDATE_ITEM"]),
    "many-to-many, add twice": (
        lambda w: (w.item.tags.add(w.tag), w.item.tags.add(w.tag)),
        ["UPDATE_ITEM"],
    ),
    "many-to-many, set": (lambda w: w.item.tags.set([w.tag]), ["UPDATE_ITEM"]),
    "many-to-many, remove": (
        lambda w: (w.item.tags.add(w.tag), w.item.tags.remove(w.tag)),
        ["UPDATE_ITEM"] * 2,
    ),
    "many-to-many, clear": (
        lambda w: (w.item.tags.add(w.tag), w.item.tags.clear(), w.item.tags.clear()),
        ["UPDATE_ITEM"] * 2,
    ),
    "many-to-many, of a deleted target": (
        lambda w: (w.item.tags.add(w.tag), w.tag.delete()),
        ["UPDATE_ITEM"] * 2,
    ),
    "many-to-many, by its own model": (
        lambda w: Pass.objects.create(shelf=w.shelf, reader=w.reader),
        ["UPDATE_SHELF"],
    ),
}


class StopError(Exception):
    """An error that ends a transaction."""


@contextmanager
def savepoint(error=None):
    with suppress(StopError), transaction.atomic(), suppress(StopError), transaction.atomic():
        yield
        if error == "inner":
            raise StopError


@contextmanager
def autocommit():
    yield


MODELS = {"item": Item, "book": Book, "shelf": Shelf, "card": Card}

#: Description of a transaction → its context manager, and whether it commits.
ENDS = {
    "autocommit": (autocommit, True),
    "inner committed": (savepoint, True),
    "inner rolled back": (lambda: savepoint("inner"), False),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("path", PATHS)
def test_path(world, path, end):
    """
    A change is announced as the table says if it commits, and not at all otherwise. The last
    notification of an object shows its stored state.
    """
    change, expected = PATHS[path]
    surroundings, stays = ENDS[end]
    with surroundings():
        change(world)
    render_all()
    rows = NotificationOutbox.objects.exclude(stream=RIGHTS).order_by("id")
    announced = sorted(row.event for row in rows)
    if end == "inner committed":  # objects in several tables are announced once in a transaction
        expected, announced = set(expected), set(announced)
    assert (sorted(expected) if stays else []) == sorted(announced)
    last = {row.stream: row for row in rows}
    for row in last.values():
        kind, _, pk = row.stream.rpartition(":")
        current = MODELS[kind].objects.filter(pk=pk).first() if kind in MODELS else None
        for name in ("title", "name", "colour", "count", "pages") if current else ():
            if name in row.payload:
                assert getattr(current, name) == row.payload[name]
