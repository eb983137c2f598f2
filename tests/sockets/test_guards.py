"""Tests of guards: the streams whose moves decide who may read a stream."""

import pytest

from apps.tickets.live import ProjectType
from pillarbox.types.registry import guards, object_type, register, unregister
from tests.library.models import Node

pytestmark = pytest.mark.django_db


def test_guards_of_an_object(ticket):
    """
    They are its own stream and its owner's. A project's is one only if a field decides who may see projects.
    """
    kind, own = object_type("ticket"), f"ticket:{ticket.pk}"
    assert [own] == guards(kind, own, ticket)
    unregister("project")
    register(type("Kind", (ProjectType,), {"visibility_fields": ("name",)}))
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


def test_a_collection_of_an_unknown_owner_has_no_guards(ticket):
    """
    Nobody can subscribe if the owner's type isn't registered.
    """
    unregister("project")
    try:
        kind = object_type("ticket")
        assert [] == guards(kind, f"project.tickets:{ticket.project_id}", ticket)
    finally:
        register(ProjectType)


def test_guards_in_a_tree():
    """
    A node has its own stream and its parent's.
    """
    root = Node.objects.create(name="root")
    child = Node.objects.create(name="child", parent=root)
    kind = object_type("node")
    assert [f"node:{child.pk}", f"node:{root.pk}"] == guards(kind, f"node:{child.pk}", child)
    assert [f"node:{root.pk}"] == guards(kind, f"node.children:{root.pk}", child)
