"""The triggers, installed for a module, and the rows that they write."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connection

from apps.outbox.models import NotificationOutbox
from apps.outbox.triggers.functions import OUTBOX, function_name, function_sql
from apps.outbox.triggers.installation import CREATE, install, remove
from apps.outbox.triggers.netting import redundant
from apps.outbox.triggers.netting import written as as_written
from apps.outbox.triggers.rules import Rule
from tests.library.models import Book

#: Objects whose rows may have been written for an object that is not there: an item that is no book.
KEPT_IN_SEVERAL_TABLES = {"book": Book}


@pytest.fixture(scope="module")
def triggers(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """While the tests of a module run, the database captures."""
    with django_db_blocker.unblock():
        install(using=DEFAULT_DB_ALIAS)
    yield
    with django_db_blocker.unblock():
        remove(using=DEFAULT_DB_ALIAS)
        connection.close()


@pytest.fixture
def written(triggers: None) -> Callable[[], list[NotificationOutbox]]:
    """Return the rows that triggers wrote and that would be numbered, oldest first."""

    def written() -> list[NotificationOutbox]:
        rows = NotificationOutbox.objects.filter(transaction__isnull=False).order_by("id")
        left_out = redundant(map(as_written, rows))
        return [row for row in rows if row.pk not in left_out and not _is_of_nothing(row)]

    return written


@pytest.fixture
def events(written: Any) -> Callable[[], list[tuple[str, str]]]:
    """Return stream and event of each row that triggers wrote; forget the rows."""

    def events() -> list[tuple[str, str]]:
        found = [(row.stream, row.event) for row in written()]
        NotificationOutbox.objects.all().delete()
        return found

    return events


def _is_of_nothing(row: NotificationOutbox) -> bool:
    model: Any = KEPT_IN_SEVERAL_TABLES.get(row.object_type)
    is_update = row.event.startswith("UPDATE_")
    return is_update and model is not None and not model.objects.filter(pk=row.object_id).exists()


@pytest.fixture
def live(execute: Any) -> Callable[..., None]:
    """Make a table live by a rule. In the test's transaction, so that nothing of it stays."""

    def live(table: str = "public.doc", **rule: Any) -> None:
        defaults = {
            "object_type": "doc",
            "key": "id",
            "streams": (("doc", "id"),),
            "verbs": ("CREATE", "DELETE", "UPDATE"),
            "watched": None,
        }
        function = f"public.{function_name(table)}"
        outbox = f"public.{OUTBOX}"
        rules = [Rule(**{**defaults, **rule})]
        execute(function_sql(function=function, table=table, outbox=outbox, rules=rules))
        execute(CREATE.format(table=table, function=function))

    return live


@pytest.fixture
def captured() -> Callable[[], list[tuple[str, str, Any]]]:
    """Return stream, event and image of each row of the outbox; forget the rows."""

    def captured() -> list[tuple[str, str, Any]]:
        rows = NotificationOutbox.objects.order_by("id")
        found = [(row.stream, row.event, row.image) for row in rows]
        rows.delete()
        return found

    return captured
