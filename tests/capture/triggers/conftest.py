"""Fixtures for captured rows."""

from collections.abc import Callable
from typing import Any

import pytest

from pillarbox.capture.triggers.functions import function_sql
from pillarbox.capture.triggers.names import function_name
from pillarbox.capture.triggers.required import creation
from pillarbox.capture.triggers.rules import Rule
from pillarbox.models import OUTBOX, RIGHTS, NotificationOutbox


@pytest.fixture
def live(execute: Any) -> Callable[..., None]:
    """Return a function that makes a table live by a rule, within the test's transaction."""

    def live(
        table: str = "public.doc", is_partitioned: bool = False, by_row: bool = False, **rule: Any
    ) -> None:
        defaults = {
            "object_type": "doc",
            "key": "id",
            "streams": (("doc", "id"),),
            "verbs": ("CREATE", "DELETE", "UPDATE"),
            "compared": None,
        }
        function = f"public.{function_name(table)}"
        outbox = f"public.{OUTBOX}"
        rules = [Rule(**{**defaults, **rule})]
        names = {"function": function, "table": table, "outbox": outbox}
        execute(function_sql(**names, rules=rules, is_partitioned=is_partitioned, by_row=by_row))
        by_row = by_row or is_partitioned
        for statement in creation(table=table, function=function, by_row=by_row):
            execute(statement)

    return live


@pytest.fixture
def captured() -> Callable[[], list[tuple[str, str, Any]]]:
    """Return stream, event and image of each row except ends of rights, and empty the outbox."""

    def captured() -> list[tuple[str, str, Any]]:
        rows = NotificationOutbox.objects.exclude(stream=RIGHTS).order_by("id")
        found = [(row.stream, row.event, row.image) for row in rows]
        NotificationOutbox.objects.all().delete()
        return found

    return captured
