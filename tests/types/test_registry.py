"""Object types are registered once and found by name. By default nobody sees their objects."""

import uuid

import pytest
from django.apps.registry import Apps
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import models, transaction
from django.test import Client
from django.test.utils import isolate_apps
from model_utils import FieldTracker
from rest_framework import serializers
from rest_framework.authtoken.models import Token

from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Project, Ticket
from pillarbox.checks.object_types import collections_have_owners, whole_objects_are_live
from pillarbox.exceptions import RegistrationError, UnknownObjectTypeError
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.types import hashids, registry
from pillarbox.types.registry import (
    OWN,
    ObjectType,
    object_type,
    owner_type,
    register,
    register_early,
    unregister,
)
from tests.library.models import Book, Card, Item, Series, Shelf, Treasure
from tests.registration import library_model, registered, type_of, unregistered
from tests.rendering import render_all


class UserSerializer(serializers.ModelSerializer):
    class Meta:
        model = get_user_model()
        fields = ["username"]


def test_names_are_types_and_collections():
    """
    Clients can subscribe to types, collections and `me`.
    """
    assert {"project", "project.tickets", "ticket", "me"} <= set(registry.subscribable_names())


def test_a_collection_is_its_owners():
    """
    A user who may see a project may see the collection of its tickets, by the project's id.
    """
    assert isinstance(owner_type("project.tickets"), ProjectType)
    assert isinstance(owner_type("ticket"), TicketType)


@pytest.mark.parametrize("find", [object_type, owner_type])
def test_unknown_type(find):
    """
    The error names the type that isn't registered.
    """
    with pytest.raises(UnknownObjectTypeError, match="'ghost'"):
        find("ghost")


@pytest.fixture
def unowned():
    """Register a collection whose owners are of no registered type."""
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
    A collection whose owner has no registered type is a system check's error, and unknown.
    """
    assert ["pillarbox.E105"] == [message.id for message in collections_have_owners()]
    with pytest.raises(UnknownObjectTypeError, match=r"owner of 'user\.tickets'"):
        owner_type("user.tickets")


@pytest.mark.django_db
def test_nobody_sees_anything_by_default(demo, ticket):
    """
    A type that doesn't override `visible_to` shows no objects.
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
    Two types, or a type and a collection, can't have the same name.
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
    A name is part of events, which have at most 100 characters.
    """
    kind = type("Kind", (ObjectType,), {"name": name, "serializer_class": UserSerializer})
    with pytest.raises(RegistrationError, match="Expected a name"):
        register(kind)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({"shows": ("nothing",)}, "expected relations, and a column.* got Ticket.nothing"),
        ({"shows": ("title",)}, "expected relations, and a column.* got Ticket.title"),
        ({"shows": ("*",)}, r"expected relations, and a column.* got Ticket.\*"),
        ({"shows": ("project__nothing",)}, "got Ticket.project__nothing"),
        ({"shows": ("nothing__name",)}, "got Ticket.nothing__name"),
        ({"shows": ("project__name__length",)}, "got Ticket.project__name__length"),
        ({"shows": ("assignee__logentry__user",)}, "got Ticket.assignee__logentry__user"),
        ({"collections": {"x.y": "nothing"}}, "expected a foreign key.*Ticket.nothing"),
        (
            {"visibility_fields": ("status", "nothing")},
            "a field with a column that is stored, got Ticket.nothing",
        ),
        ({"visibility_fields": ("pk",)}, "a column that is stored, got Ticket.pk"),
        (
            {"omit": ("title", "titel")},
            "`omit` of x: expected a field with a column, got Ticket.titel",
        ),
        (
            {"omit": ("status",), "visibility_fields": ("status",)},
            "`omit` of x: expected a field that doesn't decide.* got Ticket.status",
        ),
        (
            {"omit": ("project_id",), "collections": {"project.x": "project"}},
            "`omit` of x: expected a field that doesn't decide.* got Ticket.project",
        ),
        ({"grants": ("title",)}, r"relation to users.* got Ticket.title\."),
        ({"grants": ("assignee",)}, r"relation to users.* got Ticket.assignee\."),
        ({"grants": ("nothing__members",)}, r"relation to users.* got Ticket.nothing__members\."),
        ({"grants": ("project__tickets",)}, r"relation to users.* got Ticket.project__tickets\."),
        ({"grants": ("project__members__groups",)}, "expected a relation to users"),
    ],
    ids=str,
)
def test_declared_fields_suit_their_purpose(names, problem):
    """
    A wrong field in a declaration is refused at registration, by name.
    """
    serializer = TicketType.serializer_class
    kind = type("Kind", (ObjectType,), {"name": "x", "serializer_class": serializer, **names})
    with pytest.raises(RegistrationError, match=problem):
        register(kind)
    assert "x" not in registry.subscribable_names()


@isolate_apps("tests.library")
def test_shown_rows_are_not_found_by_secrets():
    """
    A relation is refused if its foreign keys hold an omitted column, or tokens: they would name streams.
    """

    class Device(models.Model):
        token = models.ForeignKey(Token, models.CASCADE, related_name="+")

        class Meta:
            app_label = "library"

    for model, names, column in (
        (Device, {"shows": ("token__created",)}, "Token.key"),
        (Series, {"shows": ("volumes__title",), "omit": ("code",)}, "Series.code"),
    ):
        meta = type("Meta", (), {"model": model, "fields": ["id"]})
        serializer = type("Serializer", (serializers.ModelSerializer,), {"Meta": meta})
        kind = type("Kind", (ObjectType,), {"name": "x", "serializer_class": serializer, **names})
        with pytest.raises(RegistrationError, match=f"would contain values of {column},"):
            register(kind)


def test_a_model_has_a_table():
    """
    A proxy is refused, and the error says which model to declare.
    """
    attributes = {"serializer_class": TicketType.serializer_class, "model": Treasure}
    with pytest.raises(RegistrationError, match=r"`model` of x: .* `model = Item`"):
        register(type("Kind", (ObjectType,), {"name": "x", **attributes}))


@pytest.mark.parametrize(
    ("model", "where", "problem"),
    [
        (Item, models.Q(nothing=1), r"expected columns of its own, got Item\.nothing"),
        (Item, models.Q(count__nothing=1), "`where` of x: Unsupported lookup 'nothing'"),
        (Item, models.Q(shelf__name="a"), "`where` of x: Joined field references"),
        (Book, models.Q(pages=1), "have rows in several tables"),
        (Item, models.Q(shelf__in=Shelf.objects.all()), "asks for other rows"),
        (Item, ~models.Exists(Shelf.objects.all()) & models.Q(count=1), "asks for other rows"),
        (Item, models.Q(shelf_id__in=Shelf.objects.values("pk")), "asks for other rows"),
        (Item, models.Q(shelf_id__in=Shelf.objects.values("pk").query), "asks for other rows"),
        (Item, models.Q(tags=1), r"expected columns of its own, got Item\.tags"),
        (Item, ~models.Q(tags=None), r"expected columns of its own, got Item\.tags"),
        (Shelf, models.Q(items=None), r"expected columns of its own, got Shelf\.items"),
        (Item, models.Q(count="many"), "`where` of x: Field 'count' expected a number"),
        (Shelf, models.Q(touched="yesterday"), "`where` of x: .*invalid format"),
    ],
)
def test_a_condition_is_over_own_columns(model, where, problem):
    """
    A condition that a trigger can't evaluate for a row is refused.
    """
    meta = type("Meta", (), {"model": model, "fields": ["id"]})
    serializer = type("Serializer", (serializers.ModelSerializer,), {"Meta": meta})
    names = {"name": "x", "serializer_class": serializer, "where": where}
    with pytest.raises(RegistrationError, match=problem):
        register(type("Kind", (ObjectType,), names))


@pytest.mark.parametrize("option", [{"where": models.Q(half=1)}, {"visibility_fields": ("half",)}])
@isolate_apps("apps.tickets")
def test_conditions_and_visibility_are_over_stored_columns(option):
    """
    A trigger sees no virtual columns.
    """

    class Page(models.Model):
        words = models.IntegerField()
        half = models.GeneratedField(
            expression=models.F("words") / 2, output_field=models.IntegerField(), db_persist=False
        )

        class Meta:
            app_label = "tickets"

    meta = type("Meta", (), {"model": Page, "fields": ["words"]})
    serializer = type("PageSerializer", (serializers.ModelSerializer,), {"Meta": meta})
    names = {"name": "page", "serializer_class": serializer, **option}
    with pytest.raises(RegistrationError, match=r"stored, got Page\.half"):
        register(type("Kind", (ObjectType,), names))


@pytest.mark.parametrize(
    ("annotations", "problem"),
    [
        ({"count_": models.Count("nothing")}, "Cannot resolve keyword 'nothing'"),
        ({"title": models.Count("project")}, "conflicts with a field"),
        ({"one": 1}, "non-expression"),
        ({"now": models.Func(function="now")}, "unknown output_field"),
    ],
)
def test_annotations_are_expressions(annotations, problem):
    """
    An annotation that the model can't have is refused at registration.
    """
    serializer = TicketType.serializer_class
    names = {"name": "x", "serializer_class": serializer, "annotations": annotations}
    with pytest.raises(RegistrationError, match=f"`annotations` of x: .*{problem}"):
        register(type("Kind", (ObjectType,), names))


@pytest.fixture
def early():
    """A model whose relations aren't known yet, as while Django imports each `models.py`."""
    loading = Apps(["tests.library"])
    loading.models_ready = loading.ready = False
    meta = {"apps": loading}
    model = library_model("Early", meta=meta)
    library_model("Part", meta=meta, early=models.ForeignKey("Early", models.CASCADE))
    return model


def test_a_type_in_a_module_of_models(early):
    """
    A type that is registered before all models are loaded is registered when they are.
    """
    register(type_of(early, fields=["id"], annotations={"part_count": models.Count("part")}))
    assert "early" not in registry.subscribable_names()
    early._meta.apps.models_ready = True
    register_early()
    assert early is object_type("early").model
    unregister("early")


def test_a_wrong_declaration_in_a_module_of_models(early):
    """
    A declaration that is wrong is refused when all models are loaded.
    """
    register(type_of(early, fields=["id"], shows=("parts",)))
    early._meta.apps.models_ready = True
    with pytest.raises(RegistrationError, match="`shows` of early"):
        register_early()


def test_rights_are_granted_to_users():
    """
    A many-to-many field to another model can't grant rights.
    """
    meta = type("Meta", (), {"model": Item, "fields": ["id"]})
    serializer = type("ItemSerializer", (serializers.ModelSerializer,), {"Meta": meta})
    names = {"name": "x", "serializer_class": serializer, "grants": ("tags",)}
    with pytest.raises(RegistrationError, match="expected a relation to users"):
        register(type("Kind", (ObjectType,), names))


@isolate_apps("apps.tickets")
def test_an_owner_is_known_by_its_primary_key():
    """
    A foreign key to another column can't make a collection, because streams are named by primary keys.
    """

    class Page(models.Model):
        card = models.ForeignKey(Card, models.CASCADE, to_field="number")

        class Meta:
            app_label = "tickets"

    meta = type("Meta", (), {"model": Page, "fields": ["card"]})
    serializer = type("PageSerializer", (serializers.ModelSerializer,), {"Meta": meta})
    names = {"name": "page", "serializer_class": serializer, "collections": {"card.pages": "card"}}
    with pytest.raises(RegistrationError, match=r"foreign key to a primary key, got Page\.card"):
        register(type("Kind", (ObjectType,), names))


def test_streams_can_not_be_overridden():
    """
    A trigger can't call a method.
    """
    names = {"name": "x", "serializer_class": TicketType.serializer_class, "streams": list}
    with pytest.raises(RegistrationError, match=r"Kind overrides streams\(\).* `collections`"):
        register(type("Kind", (ObjectType,), names))


@isolate_apps("apps.tickets")
def test_a_tracker_tracks_columns():
    """
    A tracker of a property is refused, because a trigger doesn't see properties.
    """

    class Page(models.Model):
        words = models.IntegerField()

        tracker = FieldTracker(fields=["words", "is_long"])

        class Meta:
            app_label = "tickets"

        is_long = property(bool)

    meta = type("Meta", (), {"model": Page, "fields": ["words"]})
    serializer = type("PageSerializer", (serializers.ModelSerializer,), {"Meta": meta})
    names = {"name": "page", "serializer_class": serializer}
    with pytest.raises(RegistrationError, match="tracks 'is_long', which is not a column"):
        register(type("Kind", (ObjectType,), names))


@isolate_apps("apps.tickets")
@pytest.mark.parametrize("names", [{"shows": ("onday_set__day",)}, {"shows": ("days",)}], ids=str)
def test_foreign_keys_hold_values_that_find_objects(names):
    """
    A foreign key is refused if its value as text, as the database writes it, finds no object.
    """

    class Day(models.Model):
        date = models.DateField(unique=True)

        class Meta:
            app_label = "tickets"

    class Page(models.Model):
        day = models.ForeignKey(Day, models.CASCADE, to_field="date")
        date = models.DateField(unique=True)
        days = models.ManyToManyField(Day, related_name="+", through="OnDay")

        class Meta:
            app_label = "tickets"

    class OnDay(models.Model):
        page = models.ForeignKey(Page, models.CASCADE, to_field="date")
        day = models.ForeignKey(Day, models.CASCADE)

        class Meta:
            app_label = "tickets"

    meta = type("Meta", (), {"model": Page, "fields": ["day"]})
    serializer = type("PageSerializer", (serializers.ModelSerializer,), {"Meta": meta})
    kind = type("Kind", (ObjectType,), {"name": "page", "serializer_class": serializer, **names})
    with pytest.raises(
        RegistrationError, match=r"OnDay.page has values of Page.date, which are nei"
    ):
        register(kind)


def test_objects_of_which_everything_is_shown_are_live():
    """
    A path to everything of rows whose model has no registered type is a system check's error.
    """
    serializer = TicketType.serializer_class
    names = {"name": "x", "serializer_class": serializer, "shows": ("assignee__*", "project__*")}
    register(type("Kind", (ObjectType,), names))
    try:
        (found,) = whole_objects_are_live()
    finally:
        unregister("x")
    assert ("pillarbox.E107", "`shows` of 'x' has 'assignee__*', but User is not live.") == (
        found.id,
        found.msg,
    )
    assert [] == whole_objects_are_live()


@isolate_apps("apps.tickets")
def test_the_key_must_be_an_integer_or_a_uuid():
    """
    Other keys have no public id.
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
    with pytest.raises(RegistrationError, match="integer or UUID as primary key of Slugged"):
        register(kind)


class ReadAsText(models.IntegerField):
    """An integer that the ORM reads as another value."""

    from_db_value = str


class MadeText(models.UUIDField):
    """A UUID that assignments turn into another value."""

    to_python = str


@pytest.mark.parametrize("field", [ReadAsText, MadeText])
@isolate_apps("apps.tickets")
def test_the_key_must_be_as_the_database_writes_it(field):
    """
    A key whose field converts values is refused, because triggers write the database's text.
    """
    meta = {"app_label": "tickets"}
    attributes = {"__module__": __name__, "Meta": type("Meta", (), meta)}
    model = type("Odd", (models.Model,), {"id": field(primary_key=True), **attributes})
    meta = type("Meta", (), {"model": model, "fields": ["id"]})
    serializer = type("OddSerializer", (serializers.ModelSerializer,), {"Meta": meta})
    kind = type("Kind", (ObjectType,), {"name": "odd", "serializer_class": serializer})
    with pytest.raises(
        RegistrationError, match=f"key of Odd is a {field.__name__}, which converts"
    ):
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
    After a type is unregistered, no change of its objects is announced.
    """
    with unregistered(ProjectType):
        project.name = "Quiet"
        project.save()
        project.members.remove(demo)
        project.tickets.all().delete()
        before = announced()
        project.delete()
    assert before == announced()
    assert not [event for _, event in before if event.endswith("PROJECT")]


class UserType(ObjectType):
    name = "user"
    serializer_class = UserSerializer


@pytest.fixture
def users_are_live(db):
    """Make `User`, a model of Django's own, live."""
    with registered(UserType):
        yield


@pytest.mark.django_db(transaction=True)
def test_a_model_of_another_package(empty_outbox, users_are_live, announced):
    """
    Registration alone makes another package's model live, for every kind of write.
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
    events = [event for stream, event in announced() if stream.partition(":")[0] == "user"]
    assert ["CREATE_USER", "UPDATE_USER", "UPDATE_USER", "CREATE_USER"] == events[:4]
    assert {"DELETE_USER"} == set(events[4:])


@pytest.mark.django_db(transaction=True)
def test_a_sign_in_is_a_change_of_a_user(empty_outbox, users_are_live, announced, other):
    """
    Without a tracker every column counts, also `last_login`, which Django saves itself.
    """
    NotificationOutbox.objects.all().delete()
    Client().force_login(other)
    # Django deletes the session that was there before the sign-in: the end of a right.
    rows = [row for row in announced() if row[0] != RIGHTS]
    assert [(f"user:{other.pk}", "UPDATE_USER")] == rows


@pytest.mark.django_db
def test_no_migration_is_needed(users_are_live):
    """
    Registration leaves the model's managers as they are, so migrations don't change.
    """
    call_command("makemigrations", "auth", check=True, dry_run=True)


@pytest.mark.django_db(transaction=True)
def test_a_model_of_two_types(empty_outbox, ticket, announced):
    """
    A model may have several object types, for different readers. A change is announced for each.
    """

    class Brief(ObjectType):
        name = "brief"
        serializer_class = type(
            "BriefSerializer",
            (TicketType.serializer_class,),
            {"Meta": type("Meta", (), {"model": Ticket, "fields": ["title"]})},
        )

    with registered(Brief):
        ticket.title, project = "Changed", ticket.project_id
        ticket.save()
        render_all()
        before = announced()
        ticket.save()
        ticket.project = Project.objects.create(name="Office")
        ticket.save()
        moved = announced()[len(before) + 1 :]
    assert [
        (f"brief:{ticket.pk}", "UPDATE_BRIEF"),
        (f"project.tickets:{project}", "UPDATE_TICKET"),
        (f"ticket:{ticket.pk}", "UPDATE_TICKET"),
    ] == sorted(before)
    assert ["CREATE_TICKET", "DELETE_TICKET", "UPDATE_BRIEF", "UPDATE_TICKET"] == sorted(
        event for stream, event in moved if stream != RIGHTS
    )
    row = NotificationOutbox.objects.filter(object_type="brief").first()
    assert {"title": "Changed"} == row.payload


def test_public_ids_of_uuids():
    """
    A type with UUIDs accepts no id of an integer, and the other way round.
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
    With multi-table inheritance, the key is that of the topmost parent.
    """
    assert 7 == object_type("book").key(object_type("book").public_id(7))


@pytest.mark.django_db
def test_me_is_the_users_own_stream(demo, other):
    """
    The type `me` shows each user nobody else, and its payload says nothing about the user.
    """
    assert [demo] == list(OWN.visible_to(demo))
    assert {"id": "me"} == OWN.payload(demo)
    assert "me" == OWN.public_id(demo.pk) == object_type("me").name
