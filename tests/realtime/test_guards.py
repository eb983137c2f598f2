"""Whose moves decide anew who may read a stream."""

import pytest

from apps.realtime.registry import guards, object_type, register, unregister
from apps.tickets.live import ProjectType
from tests.library.models import Node

pytestmark = pytest.mark.django_db


def test_of_an_object_are_its_own_and_those_of_what_it_is_seen_through(ticket):
    """
    A ticket moves between projects; projects don't move, unless something decides who sees them.
    """
    kind, own = object_type("ticket"), f"ticket:{ticket.pk}"
    assert [own] == guards(kind, own, ticket)
    unregister("project")
    register(type("Kind", (ProjectType,), {"deciding": ("name",)}))
    try:
        above = f"project:{ticket.project_id}"
        assert [own, above] == guards(kind, own, ticket)
        assert [own] == guards(kind, own, None)
        assert [above] == guards(kind, f"project.tickets:{ticket.project_id}", ticket)
        assert [above] == guards(object_type("project"), above, ticket.project)
    finally:
        unregister("project")
        register(ProjectType)
    assert [] == guards(kind, f"project.tickets:{ticket.project_id}", ticket)
    assert [] == guards(object_type("project"), above, ticket.project)


def test_of_a_collection_that_nobody_can_read_there_are_none(ticket):
    """
    Where the owner's type is not registered, nobody is subscribed.
    """
    unregister("project")
    try:
        kind = object_type("ticket")
        assert [] == guards(kind, f"project.tickets:{ticket.project_id}", ticket)
    finally:
        register(ProjectType)


def test_of_what_owns_its_like():
    """
    A node is seen where it is, and through the one above.
    """
    root = Node.objects.create(name="root")
    child = Node.objects.create(name="child", parent=root)
    kind = object_type("node")
    assert [f"node:{child.pk}", f"node:{root.pk}"] == guards(kind, f"node:{child.pk}", child)
    assert [f"node:{root.pk}"] == guards(kind, f"node.children:{root.pk}", child)
