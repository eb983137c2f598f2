"""Object types: registered once, found by name, closed until they say who may see."""

import pytest
from django.contrib.auth import get_user_model
from django.db import models
from django.test.utils import isolate_apps
from rest_framework import serializers

from apps.realtime import registry
from apps.realtime.checks import collections_have_owners
from apps.realtime.exceptions import RegistrationError, UnknownObjectTypeError
from apps.realtime.registry import ObjectType, object_type, owner_type, register, unregister
from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Ticket


class UserSerializer(serializers.ModelSerializer):
    class Meta:
        model = get_user_model()
        fields = ["username"]


def test_names_are_types_and_collections():
    """
    Whatever can be subscribed to has a name.
    """
    assert {"project", "project.tickets", "ticket", "me"} <= set(registry.names())


def test_a_collection_is_its_owners():
    """
    Who may see a project sees the collection of its tickets, by the project's id.
    """
    assert isinstance(owner_type("project.tickets"), ProjectType)
    assert isinstance(owner_type("ticket"), TicketType)


@pytest.mark.parametrize("find", [object_type, owner_type])
def test_unknown_type(find):
    """
    A type that isn't registered is named in the error.
    """
    with pytest.raises(UnknownObjectTypeError, match="'ghost'"):
        find("ghost")


@pytest.fixture
def unowned():
    """A collection whose owners are of no registered type."""
    kind = type(
        "Unowned", (TicketType,), {"collections": {"user.tickets": "assignee"}, "name": "ticket"}
    )
    unregister("ticket")
    register(kind)
    yield
    unregister("ticket")
    register(TicketType)


def test_a_collection_needs_an_owner(unowned):
    """
    Without a registered type for its owner, a collection is an error of the check, and unknown.
    """
    assert ["realtime.E005"] == [message.id for message in collections_have_owners()]
    with pytest.raises(UnknownObjectTypeError, match=r"owner of 'user\.tickets'"):
        owner_type("user.tickets")


@pytest.mark.django_db
def test_nobody_sees_anything_by_default(demo, ticket):
    """
    A type that forgets to say who may see its objects shows none.
    """

    class Closed(ObjectType):
        name = "closed"
        serializer_class = TicketType.serializer_class

    assert Ticket.objects.exists()
    assert not Closed().visible_to(demo).exists()


@pytest.mark.parametrize(
    ("name", "collections"), [("ticket", {}), ("project.tickets", {}), ("x", {"ticket": "project"})]
)
def test_a_name_is_taken_once(name, collections):
    """
    Two types, or a type and a collection, can't have one name.
    """
    taken = type(
        "Taken",
        (ObjectType,),
        {"name": name, "collections": collections, "serializer_class": UserSerializer},
    )
    with pytest.raises(RegistrationError, match="is registered already"):
        register(taken)


@isolate_apps("apps.tickets")
def test_the_key_must_be_an_integer():
    """
    A hashid is made of an integer.
    """

    class Slugged(models.Model):
        slug = models.SlugField(primary_key=True)

        class Meta:
            app_label = "tickets"

    class SluggedSerializer(serializers.ModelSerializer):
        class Meta:
            model = Slugged
            fields = ["slug"]

    kind = type("Kind", (ObjectType,), {"name": "slugged", "serializer_class": SluggedSerializer})
    with pytest.raises(RegistrationError, match="Slugged has no integer or UUID"):
        register(kind)


@pytest.mark.django_db
def test_an_object_without_an_owner_is_in_no_collection():
    """
    A null foreign key leads to no stream.
    """
    assert ["ticket:7"] == TicketType().streams(Ticket(pk=7))


@pytest.mark.django_db(transaction=True)
def test_unregistered_types_are_silent(empty_outbox, project, demo, announced):
    """
    Once a type is taken back, nothing of it is announced.
    """
    unregister("project")
    try:
        project.name = "Quiet"
        project.save()
        project.members.remove(demo)
        project.tickets.all().delete()
        before = announced()
        project.delete()
    finally:
        register(ProjectType)
    assert before == announced()
    assert not [event for _, event in before if event.endswith("PROJECT")]
