"""Rules are made from what is registered."""

from dataclasses import replace

import pytest
from django.contrib.auth import get_user_model
from rest_framework.authtoken.models import Token

from apps.outbox.announcers import Announcer, connected
from apps.outbox.models import Claim
from apps.outbox.triggers.rules import rules
from apps.tickets.models import Project, Ticket
from tests.library.models import Book, Card, Item, Label, Pass, Shelf


@pytest.fixture
def of():
    """Return the rules of a model's table, by object type and the column with the key."""

    def of(model):
        return {(rule.object_type, rule.key): rule for rule in rules(connected())[model]}

    return of


def test_of_a_tracked_model(of):
    """
    The tracker's columns count; the image has all columns; a collection's foreign key decides.
    """
    (rule,) = of(Ticket).values()
    assert (("ticket", "id"), ("project.tickets", "project_id")) == rule.streams
    assert {"project_id", "title", "description", "status", "priority", "assignee_id"} == set(
        rule.watched
    )
    assert ("project_id",) == rule.deciding
    assert {field.column for field in Ticket._meta.concrete_fields} == set(rule.image)


def test_of_relations(of):
    """
    A row of a many-to-many relation announces its owner, and the end of a member's right.
    """
    found = of(Project.members.through)
    assert {("project", "project_id"), ("rights", "user_id")} == found.keys()
    assert (False, True) == (
        found["project", "project_id"].is_object,
        found["rights", "user_id"].is_object,
    )
    assert ("DELETE", "UPDATE") == found["rights", "user_id"].verbs
    assert {("shelf", "shelf_id")} == of(Pass).keys()


def test_of_users_and_tokens(of):
    """
    Rows about rights have no image, and name the user, never a token's key.
    """
    user, token = of(get_user_model())["rights", "id"], of(Token)["rights", "user_id"]
    assert ((), ()) == (user.image, token.image)
    assert {"password", "is_active", "is_staff", "is_superuser"} == set(user.watched)
    assert (("rights", "user_id"),) == token.streams


def test_of_an_object_in_several_tables(of):
    """
    It has no image; a row of its ancestor's table announces it, too.
    """
    assert () == of(Book)["book", "item_ptr_id"].image
    item = of(Item)
    assert {("item", "id"), ("book", "id"), ("shelf", "shelf_id")} == item.keys()
    assert not item["book", "id"].is_object
    assert "title" in item["item", "id"].image


def test_of_types_that_json_changes(of):
    """
    A column whose type is not known to survive JSON leaves the rows without image.
    """
    claims = Announcer(
        object_type="claim",
        model=Claim,
        streams=list,
        placed_by=(("claim", "pk"),),
        payload=dict,
        tombstone=dict,
    )
    (rule,) = rules([claims])[Claim]
    assert ("shard", ()) == (rule.key, rule.image)
    (without,) = rules([replace(claims, omit=("rows",))])[Claim]
    assert ("shard", "claimed_at") == without.image
    assert set(of(Card)["card", "id"].image) >= {"number", "colour"}


def test_of_what_counts(of):
    """
    Without a tracker every column counts.
    """
    assert {"upper"} == set(of(Label)["label", "id"].watched)
    assert of(Shelf)["shelf", "id"].watched is None
