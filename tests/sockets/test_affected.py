"""Tests of the users, sessions and objects that ends of rights affect."""

import pytest
from django.contrib.auth.models import Group
from django.db import models

from pillarbox.models import RIGHTS
from pillarbox.sockets.access.affected import Affected, affected_by
from pillarbox.sockets.subscriptions.subscription import Subscription
from pillarbox.stream.ends_of_rights import End
from pillarbox.types.grants import SESSION
from pillarbox.types.object_types import ObjectType
from pillarbox.types.registry import object_type, owner_paths
from tests.library.live import ItemSerializer
from tests.library.models import Item, Node, Shelf
from tests.registration import live_model, registered

pytestmark = pytest.mark.django_db


def end(offset, object_id, object_type=RIGHTS, lookup="", *, begins=False):
    return End(offset, begins, object_type, str(object_id), lookup)


def following(object_type, pk):
    return Subscription(object_type=object_type, id="x", pk=pk)


def test_the_first_end_of_a_user_counts(demo, other):
    """
    The offset is the first end's. A right that only begins affects nobody.
    """
    ends = [end(3, other.pk, begins=True), end(4, demo.pk), end(5, demo.pk)]
    affected = affected_by(ends, {})
    assert (4, True, False) == (
        affected.since,
        affected.has_user(demo.pk),
        affected.has_user(other.pk),
    )


def test_users_found_by_a_lookup(demo, other):
    """
    An end that names a group affects its members; one that names a username, that user.
    """
    group = Group.objects.create(name="staff")
    demo.groups.add(group)
    affected = affected_by(
        [end(4, group.pk, lookup="groups"), end(5, "other", lookup="username")], {}
    )
    assert {str(demo.pk), str(other.pk)} == affected.users


def test_an_end_without_an_id_affects_everybody(demo):
    """
    The table of a relation was emptied.
    """
    affected = affected_by([end(7, demo.pk), end(6, "")], {})
    assert (6, True) == (affected.since, affected.has_user("anybody"))


def test_a_session_is_found_by_its_digest():
    """
    An end of a session names the digest of its key.
    """
    assert Affected(since=7, sessions={"abc"}) == affected_by([end(7, "abc", SESSION)], {})


def test_objects_visible_through_an_object(project, ticket):
    """
    It affects the object, its collections, and followed objects in them. Unknown types are ignored.
    """
    affected = affected_by(
        [end(7, project.pk, "project"), end(8, 1, "ghost")], {"ticket": {ticket.pk}}
    )
    concerned = [("project", project.pk), ("project.tickets", project.pk), ("ticket", ticket.pk)]
    assert all(affected.has_subscription(following(*one)) for one in concerned)
    assert not affected.has_subscription(following("ticket", ticket.pk + 1))
    assert not Affected().has_subscription(following("ticket", ticket.pk))


def test_objects_visible_through_several_objects():
    """
    Each type of the objects is affected. A recursive relation is followed once.
    """
    root = Node.objects.create(name="root")
    child = Node.objects.create(name="child", parent=root)
    shelf = Shelf.objects.create(name="a")
    item = Item.objects.create(title="b", shelf=shelf)
    followed = {"node": {root.pk, child.pk}, "item": {item.pk}, "item.brief": {item.pk}}
    brief = {"name": "item.brief", "serializer_class": ItemSerializer}
    brief |= {"collections": {"shelf.briefs": "shelf"}}
    with registered(type("Brief", (ObjectType,), brief)):
        affected = affected_by([end(2, root.pk, "node"), end(3, shelf.pk, "shelf")], followed)
    assert {
        ("node", str(root.pk)),
        ("node", str(child.pk)),
        ("shelf", str(shelf.pk)),
        ("item", str(item.pk)),
        ("item.brief", str(item.pk)),
    } == affected.objects


@pytest.mark.django_db(transaction=True)
def test_objects_visible_through_two_relations(demo):
    """
    Relations are followed down to affected objects, and up from a subscription that starts.
    """
    shelf = Shelf.objects.create(name="a")
    item = Item.objects.create(title="b", shelf=shelf)
    with live_model(item=models.ForeignKey(Item, models.CASCADE)) as model:
        kind = type(object_type("thing"))
        with registered(type("OfItems", (kind,), {"collections": {"item.things": "item"}})):
            thing = model.objects.create(item=item)
            affected = affected_by([end(3, shelf.pk, "shelf")], {"thing": {thing.pk, 0}})
            assert {
                ("shelf", str(shelf.pk)),
                ("thing", str(thing.pk)),
            } == affected.objects
            paths = [("item", "item"), ("item__shelf", "shelf")]
            assert paths == list(owner_paths(object_type("thing")))
    assert [("parent", "node")] == list(owner_paths(object_type("node")))
