"""Objects that show objects that show a changed one are announced, once for each transaction."""

import pytest

from pillarbox.models import NotificationOutbox
from tests.library.live import NodeType
from tests.library.models import Node
from tests.registration import registered

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def nodes(db):
    """Create five nodes, each the child of the one before, and empty the outbox."""
    nodes = [Node.objects.create(name="0")]
    for name in "1234":
        nodes.append(Node.objects.create(name=name, parent=nodes[-1]))
    NotificationOutbox.objects.all().delete()
    return nodes


@pytest.fixture
def own(rendered):
    """Return the nodes that are announced in their own streams, in order."""

    def own():
        found = rendered(object_type="node", stream__startswith="node:")
        return sorted(stream for stream, *_ in found)

    return own


def streams(nodes):
    return sorted(f"node:{node.pk}" for node in nodes)


def test_of_ancestors(nodes, execute, own):
    """
    A change is announced for each ancestor, up to the root.
    """
    execute("UPDATE library_node SET name = 'new' WHERE id = %s", nodes[4].pk)
    assert streams(nodes) == own()
    assert 9 == NotificationOutbox.objects.count()


def test_of_objects_that_show_each_other(nodes, execute, own):
    """
    A circle of objects that show each other ends at the changed object.
    """
    execute("UPDATE library_node SET parent_id = %s WHERE id = %s", nodes[4].pk, nodes[0].pk)
    own()
    NotificationOutbox.objects.all().delete()
    execute("UPDATE library_node SET name = 'new' WHERE id = %s", nodes[2].pk)
    assert streams(nodes) == own()


def test_of_objects_in_no_collection(nodes, execute, own):
    """
    If everything is announced already, no row is added.
    """
    with registered(type("FlatNodeType", (NodeType,), {"collections": {}})):
        execute("UPDATE library_node SET parent_id = %s WHERE id = %s", nodes[1].pk, nodes[0].pk)
        own()
        NotificationOutbox.objects.all().delete()
        execute("UPDATE library_node SET name = 'new' WHERE id = %s", nodes[1].pk)
        assert streams(nodes[:2]) == own()
        assert 2 == NotificationOutbox.objects.count()
