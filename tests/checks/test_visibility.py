"""Tests of the system check that somebody may see the objects of a type."""

import pytest

from apps.tickets.live import ProjectType, TicketType
from pillarbox.checks.visibility import objects_are_visible
from pillarbox.types.registry import ObjectType
from tests.registration import registered, unregistered


@pytest.fixture(autouse=True)
def _without_tickets(db):
    """Let there be no objects of projects, as the types of this file replace theirs."""
    with unregistered(TicketType):
        yield


def test_a_type_that_nobody_may_see():
    """
    A type without ``visible_to`` gets a warning with the method to write, unless its collections say who may
    see its objects.
    """
    before = objects_are_visible()
    hidden = {"name": "project", "serializer_class": ProjectType.serializer_class}
    with registered(type("Hidden", (ObjectType,), hidden)):
        (warning,) = (message for message in objects_are_visible() if message not in before)
    assert "pillarbox.W108" == warning.id
    assert "Hidden has no visible_to" in warning.msg
    assert "def visible_to(self, user): return Project.objects" in warning.hint
    in_collections = {
        "name": "ticket",
        "serializer_class": TicketType.serializer_class,
        "collections": TicketType.collections,
    }
    with registered(type("Listed", (ObjectType,), in_collections)):
        assert before == objects_are_visible()
