"""A live model behaves like a plain one: the same statements and the same results."""

import re
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
from django.db import connection, transaction
from django.db.models import F, Model, QuerySet, signals
from django.test.utils import CaptureQueriesContext

from pillarbox.capture.traces import traced
from pillarbox.models import NotificationOutbox
from tests.library.live import BookType, CardType, ItemType, ShelfType
from tests.library.models import Book, Card, Item, Reader, Shelf, Tag
from tests.registration import unregistered

pytestmark = pytest.mark.django_db(transaction=True)


def _saved(instance, *, fields=None, **values):
    for name, value in values.items():
        setattr(instance, name, value)
    return instance.save(update_fields=fields)


def _upsert(cards):
    return Card.objects.bulk_create(
        cards, update_conflicts=True, unique_fields=["number"], update_fields=["colour"]
    )


OPERATIONS = {
    "create": lambda w: Item.objects.create(title="x", shelf=w.shelf),
    "create a child": lambda w: Book.objects.create(title="x"),
    "save": lambda w: _saved(w.item, title="x"),
    "save unchanged": lambda w: w.item.save(),
    "save some fields": lambda w: _saved(w.item, title="x", fields=["title"]),
    "save with an expression": lambda w: _saved(w.item, count=F("count") + 1),
    "save a move": lambda w: _saved(w.item, shelf=w.shelf),
    "save a child": lambda w: _saved(w.book, title="x", pages=1),
    "save a tracked model": lambda w: _saved(w.card, colour="x"),
    "save with a key": lambda w: Card(number=2).save(),
    "get_or_create": lambda w: Card.objects.get_or_create(number=2)[1],
    "get_or_create, got": lambda w: Card.objects.get_or_create(number=1)[1],
    "update_or_create": lambda w: Card.objects.update_or_create({"colour": "x"}, number=1)[1],
    "update": lambda w: Item.objects.filter(count=0).update(count=F("count") + 1),
    "update a child": lambda w: Book.objects.update(title="x", pages=1),
    "bulk_create": lambda w: len(
        Item.objects.bulk_create([Item(title=t) for t in "abc"], batch_size=2)
    ),
    "bulk_create, conflicts ignored": lambda w: len(
        Card.objects.bulk_create([Card(number=1), Card(number=2)], ignore_conflicts=True)
    ),
    "bulk_create, conflicts updated": lambda w: len(_upsert([Card(number=1), Card(number=2)])),
    "bulk_update": lambda w: Item.objects.bulk_update([w.item, w.lent], ["title"]),
    "delete": lambda w: w.item.delete(),
    "delete a child": lambda w: w.book.delete(),
    "delete and cascade": lambda w: w.shelf.delete(),
    "delete and set null": lambda w: w.reader.delete(),
    "delete many": lambda w: Item.objects.all().delete(),
    "many-to-many, add": lambda w: w.item.tags.add(w.tag),
    "many-to-many, add from the other side": lambda w: w.tag.items.add(w.item),
    "many-to-many, remove": lambda w: w.lent.tags.remove(w.tag),
    "many-to-many, set": lambda w: w.lent.tags.set([]),
    "many-to-many, clear": lambda w: w.tag.items.clear(),
    "foreign key, add": lambda w: w.shelf.items.add(w.item),
}


def made():
    """Delete all objects and make new ones."""
    for model in (Item, Shelf, Card, Reader, Tag):
        model.objects.all().delete()
    shelf, reader = Shelf.objects.create(name="s"), Reader.objects.create(name="Ann")
    world = SimpleNamespace(
        shelf=shelf,
        reader=reader,
        tag=Tag.objects.create(name="t"),
        item=Item.objects.create(title="a"),
        lent=Item.objects.create(title="b", borrower=reader, shelf=shelf),
        book=Book.objects.create(title="c", count=1),
        card=Card.objects.create(number=1),
    )
    world.lent.tags.add(world.tag)
    NotificationOutbox.objects.all().delete()
    return world


def recorded(change, *args):
    """Return the SQL of an operation without values, and its result."""
    with CaptureQueriesContext(connection) as captured:
        result = change(*args)
    sql = [re.sub(r"'[^']*'|\b\d+\b", "?", query["sql"]) for query in captured]
    return sql, result if isinstance(result, (int, tuple)) else type(result)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_statements_are_djangos(operation, announced):
    """
    An operation has the same SQL and result whether or not the model is live.
    """
    change = OPERATIONS[operation]
    live = recorded(change, made())
    changed = bool(announced())
    with unregistered(ItemType, BookType, CardType, ShelfType):
        plain = recorded(change, made())
        assert [] == announced()
    assert plain == live
    assert plain[0]
    assert changed is (operation not in ("save unchanged", "get_or_create, got", "bulk_update"))


SIGNALS = (
    "pre_init",
    "post_init",
    "pre_save",
    "post_save",
    "pre_delete",
    "post_delete",
    "m2m_changed",
)


@contextmanager
def listening():
    """Yield a list of signals, each with its arguments, and of statements, in their order."""
    heard = []

    def hear(name, sender, **arguments):
        described = {key: _described(value) for key, value in arguments.items() if key != "signal"}
        heard.append((name, sender, connection.in_atomic_block, described))

    def notice(execute, sql, params, many, context):
        heard.append(sql)
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for name in SIGNALS:
            receiver, signal = partial(hear, name), getattr(signals, name)
            signal.connect(receiver)
            stack.callback(signal.disconnect, receiver)
        stack.enter_context(connection.execute_wrapper(notice))
        yield heard


def _described(value):
    """Return an argument of a signal without keys and times, which differ between two objects made alike."""
    if isinstance(value, Model):
        fields = [one for one in value._meta.concrete_fields if not _is_key(one)]
        columns = {one.name: str(vars(value)[one.name]) for one in fields if one.name != "touched"}
        return type(value), value._state.adding, columns
    if isinstance(value, (set, tuple, list)):
        return type(value), len(value)
    return value.model if isinstance(value, QuerySet) else value


def _is_key(field):
    return field.primary_key or field.remote_field is not None


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_signals_are_djangos(operation):
    """
    Receivers are called as often, with the same arguments, and at the same place among the statements.
    """
    change = OPERATIONS[operation]
    world = made()
    with listening() as live:
        change(world)
    with unregistered(ItemType, BookType, CardType, ShelfType):
        world = made()
        with listening() as plain:
            change(world)
    assert plain == live
    silent = ("update", "update a child", "bulk_update", "foreign key, add")
    assert (operation not in silent) is any(isinstance(one, tuple) for one in live)


def test_a_traced_transaction_has_one_more():
    """
    The request's mark is set once before the first write; in autocommit not at all.
    """
    world = made()

    def change():
        with transaction.atomic():
            assert Item.objects.exists()
            for title in "ab":
                _saved(world.item, title=title)
                _saved(world.card, colour=title)

    plain, _ = recorded(change)
    with traced("from afar"):
        found, _ = recorded(change)
        alone, _ = recorded(_saved, world.card)
    assert ["SELECT set_config(?, ?, true)"] == [sql for sql in found if sql not in plain]
    assert plain == [sql for sql in found if "set_config" not in sql]
    assert "set_config" in found[2]
    assert ["UPDATE"] == [sql.split()[0] for sql in alone]
