"""The guard makes a write that announces nothing fail, and no other."""

import pytest
from django.core import serializers
from django.db import connection
from django.db.models.signals import post_save
from psycopg.sql import SQL, Identifier

from apps.outbox.exceptions import UnannouncedWriteError
from apps.outbox.guard import unannounced_writes_fail
from tests.library.models import Book, Card, Item, Reader, Shelf, Tag

pytestmark = pytest.mark.django_db


@pytest.fixture
def item():
    return Item.objects.create(title="a", shelf=Shelf.objects.create(name="s"))


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE library_item SET count = 1",
        'update only "public"."library_item" set count = 1',
        "DELETE FROM library_item_tags",
        "DELETE FROM public . library_item_tags",
        "UPDATE /* all */ library_item SET count = 1 -- now",
        "/* x */ TRUNCATE library_card",
        SQL("UPDATE {} SET count = 1").format(Identifier("library_item")),
        "INSERT INTO library_shelf (name) VALUES ('s')",
        "WITH gone AS (DELETE FROM library_card RETURNING id) SELECT * FROM gone",
        "TRUNCATE library_reader, library_card CASCADE",
        "INSERT INTO library_book SELECT id, 1 FROM library_item",
        "MERGE INTO library_item i USING library_shelf s ON i.id = s.id WHEN MATCHED THEN DELETE",
    ],
)
def test_sql_fails(item, sql):
    """
    SQL that writes to a live table, or to that of a relation that is announced, is refused by name.
    """
    with unannounced_writes_fail(), pytest.raises(UnannouncedWriteError, match="library_"):
        execute(sql)
    assert 1 == Item.objects.count()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM library_item FOR UPDATE",
        "UPDATE library_reader SET name = 'library_item'",
        "DELETE FROM library_tag",
        "SELECT 'please UPDATE library_card'",
        "SELECT 1 -- UPDATE library_card",
    ],
)
def test_other_sql_passes(item, sql):
    """
    Reading a live table, and writing to others, is nobody's business.
    """
    with unannounced_writes_fail():
        execute(sql)


def test_what_skips_the_capture_fails(item):
    """
    Fixtures and Django's internal shortcuts are refused.
    """
    (fixture,) = serializers.deserialize("python", serializers.serialize("python", [item]))
    with unannounced_writes_fail():
        for change in (fixture.save, lambda: Item.objects.all()._raw_delete("default")):
            with pytest.raises(UnannouncedWriteError):
                change()


def test_what_is_announced_passes(item):
    """
    Whatever the ORM writes is announced, or explicitly not.
    """
    tag, reader = Tag.objects.create(name="t"), Reader.objects.create(name="r")
    with unannounced_writes_fail():
        item.title = "b"
        item.save()
        item.tags.add(tag)
        item.tags.clear()
        item.shelf.readers.add(reader)
        Item.objects.update(count=1)
        Card.objects.bulk_create([Card(number=1)])
        Card.objects.bulk_create([Card(number=2)], announce=False)
        Book.objects.create(title="c")
        Shelf.objects.all().delete()
        reader.delete()


def test_what_is_done_beside_an_announced_write_fails(item):
    """
    Under a save that is announced, another live table is as guarded as ever.
    """

    def scratch(**_):
        execute("UPDATE library_card SET colour = 'x'")

    post_save.connect(scratch, sender=Shelf)
    try:
        with unannounced_writes_fail(), pytest.raises(UnannouncedWriteError, match="library_card"):
            Shelf.objects.create(name="s")
    finally:
        post_save.disconnect(scratch, sender=Shelf)


def test_ends_with_its_block(item):
    """
    Outside of the block everything is as ever.
    """
    with unannounced_writes_fail():
        pass
    execute("UPDATE library_item SET count = 1")
