"""Object types: registered once, found by name, closed until they say who may see."""

import uuid

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, models, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext, isolate_apps
from rest_framework import serializers

from apps.outbox.models import NotificationOutbox
from apps.realtime import hashids, registry
from apps.realtime.checks import collections_have_owners, parents_are_live
from apps.realtime.exceptions import RegistrationError, UnknownObjectTypeError
from apps.realtime.registry import (
    OWN,
    ObjectType,
    object_type,
    owner_type,
    register,
    unregister,
)
from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Project, Ticket
from tests.library.models import Card, Item


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
    ("name", "collections"),
    [("ticket", {}), ("project.tickets", {}), ("me", {}), ("x", {"ticket": "project"})],
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


@pytest.mark.parametrize("name", ["", "Ticket", "a b", "x" * 91])
def test_a_name_is_plain_and_short(name):
    """
    A name becomes part of events, which have at most a hundred characters.
    """
    kind = type("Kind", (ObjectType,), {"name": name, "serializer_class": UserSerializer})
    with pytest.raises(RegistrationError, match="Expected a name"):
        register(kind)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({"also": ("nothing",)}, "Ticket.nothing is no foreign key"),
        ({"also": ("title",)}, "Ticket.title is no foreign key"),
        ({"collections": {"x.y": "nothing"}}, "Ticket.nothing is no foreign key"),
        ({"deciding": ("status", "nothing")}, "Ticket.nothing is no field with a column"),
        ({"deciding": ("pk",)}, "Ticket.pk is no field with a column"),
        ({"many_to_many": ("title",)}, "Ticket.title is no many-to-many field"),
        ({"grants": ("title",)}, "Ticket.title is no many-to-many field"),
    ],
    ids=str,
)
def test_fields_are_what_they_are_named_for(names, problem):
    """
    A mistake in a registration is refused by name, before anything is saved.
    """
    serializer = TicketType.serializer_class
    kind = type("Kind", (ObjectType,), {"name": "x", "serializer_class": serializer, **names})
    with pytest.raises(RegistrationError, match=problem):
        register(kind)
    assert "x" not in registry.names()


def test_rights_are_granted_to_users():
    """
    A many-to-many field to anything else says nothing of who may see the object.
    """
    meta = type("Meta", (), {"model": Item, "fields": ["id"]})
    serializer = type("ItemSerializer", (serializers.ModelSerializer,), {"Meta": meta})
    names = {"name": "x", "serializer_class": serializer, "grants": ("tags",)}
    with pytest.raises(RegistrationError, match="is not about users"):
        register(type("Kind", (ObjectType,), names))


@isolate_apps("apps.tickets")
def test_an_owner_is_known_by_its_primary_key():
    """
    A foreign key to another column names streams that nobody could subscribe to.
    """

    class Page(models.Model):
        card = models.ForeignKey(Card, models.CASCADE, to_field="number")

        class Meta:
            app_label = "tickets"

    meta = type("Meta", (), {"model": Page, "fields": ["card"]})
    serializer = type("PageSerializer", (serializers.ModelSerializer,), {"Meta": meta})
    names = {"name": "page", "serializer_class": serializer, "collections": {"card.pages": "card"}}
    with pytest.raises(RegistrationError, match=r"Page\.card is no foreign key to a primary key"):
        register(type("Kind", (ObjectType,), names))


def test_what_is_announced_along_is_live():
    """
    A parent of no registered type is an error of the check.
    """
    serializer = TicketType.serializer_class
    names = {"name": "x", "serializer_class": serializer, "also": ("assignee", "project")}
    register(type("Kind", (ObjectType,), names))
    try:
        (found,) = parents_are_live()
    finally:
        unregister("x")
    assert ("realtime.E007", "'x' announces also 'assignee', which is not live.") == (
        found.id,
        found.msg,
    )
    assert [] == parents_are_live()


@isolate_apps("apps.tickets")
def test_the_key_must_be_an_integer_or_a_uuid():
    """
    Other keys have no hashid.
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


@pytest.fixture
def users_are_live():
    """`User`, a model of Django's own, is live."""

    @register
    class UserType(ObjectType):
        name = "user"
        serializer_class = UserSerializer

    yield
    unregister("user")


@pytest.mark.django_db(transaction=True)
def test_a_model_that_is_not_ours(empty_outbox, users_are_live, announced):
    """
    A model one can't change is live by its registration alone, whatever writes to it.
    """
    users = get_user_model().objects
    ann = users.create_user("ann")
    ann.first_name = "Ann"
    ann.save()
    ann.save()
    get_user_model().objects.filter(pk=ann.pk).update(first_name="A.")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        users.create_user("bob")
        raise ZeroDivisionError
    users.bulk_create([get_user_model()(username="cid")])
    users.all().delete()
    events = [event for _, event in announced() if event.endswith("USER")]
    assert ["CREATE_USER", "UPDATE_USER", "UPDATE_USER", "CREATE_USER"] == events[:4]
    assert {"DELETE_USER"} == set(events[4:])


@pytest.mark.django_db(transaction=True)
def test_a_sign_in_is_a_change_of_a_user(empty_outbox, users_are_live, announced, other):
    """
    Without a tracker each column counts, last_login too: what Django itself saves is seen.
    """
    NotificationOutbox.objects.all().delete()
    Client().force_login(other)
    assert [(f"user:{other.pk}", "UPDATE_USER")] == announced()


@pytest.mark.django_db
def test_no_migration_is_needed(users_are_live):
    """
    Making a model live leaves its managers as they are: nothing is written to migrations.
    """
    call_command("makemigrations", "auth", check=True, dry_run=True)


@pytest.mark.django_db(transaction=True)
def test_a_model_of_two_types(empty_outbox, ticket, announced):
    """
    Different eyes may need different object types: one change is announced as each.
    """

    @register
    class Brief(ObjectType):
        name = "brief"
        serializer_class = type(
            "BriefSerializer",
            (TicketType.serializer_class,),
            {"Meta": type("Meta", (), {"model": Ticket, "fields": ["title"]})},
        )

    try:
        ticket.title, project = "Changed", ticket.project_id
        ticket.save()
        before = announced()
        with CaptureQueriesContext(connection) as captured:
            ticket.save()
        ticket.project = Project.objects.create(name="Office")
        ticket.save()
        moved = announced()[len(before) + 1 :]
    finally:
        unregister("brief")
    assert [
        (f"brief:{ticket.pk}", "UPDATE_BRIEF"),
        (f"project.tickets:{project}", "UPDATE_TICKET"),
        (f"ticket:{ticket.pk}", "UPDATE_TICKET"),
    ] == sorted(before)
    # Who asks the row asks it for both.
    assert 1 == len([query for query in captured if "FOR NO KEY UPDATE" in query["sql"]])
    assert ["CREATE_TICKET", "DELETE_TICKET", "UPDATE_BRIEF", "UPDATE_TICKET"] == sorted(
        event for _, event in moved
    )
    row = NotificationOutbox.objects.filter(object_type="brief").first()
    assert {"title": "Changed"} == row.payload


def test_public_ids_of_uuids():
    """
    A UUID has a public id; an integer's is none of a type with UUIDs, and the other way round.
    """
    card, ticket = object_type("card"), object_type("ticket")
    pk = uuid.uuid4()
    assert pk == card.key(card.public_id(pk)) == card.key(card.public_id(str(pk)))
    assert card.key(hashids.encode("card", 7)) is None
    assert ticket.key(hashids.encode("ticket", pk)) is None
    with pytest.raises(UnknownObjectTypeError, match="No card has the primary key 'x'"):
        card.public_id("x")


def test_a_child_has_its_parents_kind_of_key():
    """
    The key of a model that inherits a table is its parent's.
    """
    assert 7 == object_type("book").key(object_type("book").public_id(7))


@pytest.mark.django_db
def test_me_is_whoever_asks(demo, other):
    """
    The type of the user's own stream shows each user that user only, and nothing about anybody.
    """
    assert [demo] == list(OWN.visible_to(demo))
    assert {"id": "me"} == OWN.payload(demo)
    assert "me" == OWN.public_id(demo.pk) == object_type("me").name
