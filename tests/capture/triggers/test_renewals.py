"""Streams get new epochs if the function that is replaced captured other changes."""

from dataclasses import replace

import pytest

from pillarbox.capture.triggers.conditions import ROW
from pillarbox.capture.triggers.functions import function_sql
from pillarbox.capture.triggers.renewals import RENEW, renewals
from pillarbox.capture.triggers.rules import Rule

TICKET = Rule(
    object_type="ticket",
    key="id",
    streams=(("ticket", "id"), ("project.tickets", "project_id")),
    verbs=("CREATE", "DELETE", "UPDATE"),
    compared=("title",),
    where=f'("{ROW}"."hidden" = 0)',
)
#: A table that only makes a relation of tickets.
LINK = Rule(
    object_type="ticket",
    key="ticket_id",
    streams=(("ticket", "ticket_id"),),
    verbs=("UPDATE",),
    compared=("user_id",),
    is_object=False,
    is_link=True,
)
#: A type whose readers depend on two columns.
GUARDED = replace(TICKET, move_columns=("level", "project_id"))
RIGHT = replace(LINK, object_type="rights", streams=(), is_link=False, ends_right=True)


@pytest.mark.parametrize(
    ("rule", "changes", "names"),
    [
        (TICKET, {}, []),
        (TICKET, {"image": ("id", "title"), "verbs": ("UPDATE",)}, []),
        (TICKET, {"compared": ("text", "title")}, ["project.tickets", "ticket"]),
        (TICKET, {"compared": None}, ["project.tickets", "ticket"]),
        (TICKET, {"where": f'("{ROW}"."hidden" = 1)'}, ["project.tickets", "ticket"]),
        (TICKET, {"where": ""}, ["project.tickets", "ticket"]),
        (
            TICKET,
            {"streams": (("ticket", "id"), ("project.tickets", "board_id"))},
            ["project.tickets"],
        ),
        (TICKET, {"object_type": "project"}, ["project", "project.tickets", "ticket"]),
        (TICKET, {"move_columns": ("level",)}, ["project.tickets", "rights", "ticket"]),
        (TICKET, {"move_columns": ("project_id",)}, []),
        (GUARDED, {}, []),
        (GUARDED, {"move_columns": ("level",)}, []),
        (GUARDED, {"move_columns": ("colour", "level")}, ["project.tickets", "rights", "ticket"]),
        (LINK, {}, []),
        (LINK, {"compared": ("level", "user_id")}, ["project.tickets", "ticket"]),
        (
            LINK,
            {"key": "issue_id", "streams": (("ticket", "issue_id"),)},
            ["project.tickets", "ticket"],
        ),
        (RIGHT, {}, []),
        (RIGHT, {"key": "issue_id"}, ["rights"]),
        (RIGHT, {"compared": None}, ["rights"]),
    ],
)
def test_rules_that_capture_more(rule, changes, names):
    """
    A function misses changes if it compares other columns, or takes keys, or a condition, from others. Rights
    may have ended unnoticed if it marks fewer moves.
    """
    other = replace(rule, object_type="sign", compared=None)
    source = function_sql(function="f", table="t", outbox="o", rules=[other, rule])
    listed = ", ".join(f"'{name}'" for name in names)
    expected = (RENEW.format(names=listed),) if names else ()
    assert expected == renewals([replace(rule, **changes)], source)


def test_a_condition_is_new():
    """
    A type without a condition has other objects than one with a condition.
    """
    rule = replace(TICKET, where="")
    source = function_sql(function="f", table="t", outbox="o", rules=[rule])
    assert () == renewals([rule], source)
    assert () != renewals([TICKET], source)
