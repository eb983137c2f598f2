"""A law with several connections: notifications and stored rows agree."""

import random
import threading
from contextlib import suppress

import pytest
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.models import F

from tests.law import assert_law
from tests.library.models import Card, Item, Shelf, Tag
from tests.rendering import number_all


class Writer(threading.Thread):
    """A thread that changes, moves, relates and deletes a few objects in transactions."""

    def __init__(self, seed, operations):
        super().__init__()
        self.random = random.Random(seed)
        self.operations = operations
        self.error = None
        self.deadlocks = 0

    def run(self):
        try:
            with suppress(DatabaseError), connection.cursor() as cursor:  # only a superuser may
                cursor.execute("SET deadlock_timeout = '20ms'")
            for _ in range(60):
                self.transaction()
        except Exception as error:  # noqa: BLE001  # pragma: no cover  # only if the test fails
            self.error = error
        finally:
            connections.close_all()

    def transaction(self):
        try:
            with (
                suppress(IntegrityError, Shelf.DoesNotExist, ZeroDivisionError),
                transaction.atomic(),
            ):
                for _ in range(self.operations):
                    self.random.choice(self.changes)(self)
                if self.random.random() < 0.2:
                    raise ZeroDivisionError
        except OperationalError as error:
            assert "deadlock" in str(error)
            self.deadlocks += 1

    def pick(self, model):
        rows = list(model.objects.order_by("pk"))
        return self.random.choice(rows) if rows else None

    def create(self):
        Item.objects.create(title="new", shelf=self.pick(Shelf))

    def save(self):
        if item := self.pick(Item):
            item.title = str(self.random.random())[:20]
            item.save()

    def move(self):
        if item := self.pick(Item):
            item.shelf = self.pick(Shelf)
            item.save()

    def update(self):
        Item.objects.filter(count__lt=self.random.randint(0, 9)).update(count=F("count") + 1)

    def tag(self):
        item, tag = self.pick(Item), self.pick(Tag)
        if item and tag:
            self.random.choice([item.tags.add, item.tags.remove])(tag)

    def delete(self):
        if self.random.random() < 0.5 and (item := self.pick(Item)):
            item.delete()

    def upsert(self):
        numbers = sorted(self.random.sample(range(6), 3))
        Card.objects.bulk_create(
            [Card(number=number, colour=str(self.random.random())[:20]) for number in numbers],
            update_conflicts=True,
            unique_fields=["number"],
            update_fields=["colour"],
        )

    def drop(self):
        Card.objects.filter(number=self.random.randint(0, 5)).delete()

    changes = (create, save, save, move, update, tag, tag, delete, upsert, drop)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("operations", [1, 3])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_law_with_several_connections(seed, operations):
    """
    With concurrent writers, no deleted object reappears and no last payload is stale. Deadlocks
    occur as rarely as without the outbox.
    """
    Shelf.objects.bulk_create(Shelf(name=name) for name in "abc")
    Tag.objects.bulk_create(Tag(name=name) for name in "xy")
    writers = [Writer(10 * seed + number, operations) for number in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        number_all()
    for writer in writers:
        writer.join()
    number_all()
    assert [None] * 4 == [writer.error for writer in writers]
    assert operations > 1 or sum(writer.deadlocks for writer in writers) <= 3  # of 240
    assert_law(order="offset")
