"""Rules are derived from the registered types."""

from dataclasses import replace

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.postgres.fields import ArrayField, DateRangeField, HStoreField
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models import F, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Left, Upper
from django.test.utils import isolate_apps
from rest_framework.authtoken.models import Token

from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from pillarbox.capture.triggers.rules import rules
from pillarbox.models import Claim
from pillarbox.types.announcers import Announcer
from pillarbox.types.grants import link_to_users
from pillarbox.types.live_models import all_announcers
from tests.library.live import ItemType
from tests.library.models import Book, Card, Item, Label, MoneyField, Pass, Shelf
from tests.registration import library_model, registered


@pytest.fixture
def of():
    """Return the rules of a model's table, by object type and key column."""

    def of(model):
        return {(rule.object_type, rule.key): rule for rule in rules(all_announcers())[model]}

    return of


def test_of_a_tracked_model(of):
    """
    The tracker's columns are compared. The image has all columns. A collection's foreign key makes moves.
    """
    (rule,) = of(Ticket).values()
    assert (("ticket", "id"), ("project.tickets", "project_id")) == rule.streams
    assert {"id", "project_id", "title", "description", "status", "priority", "assignee_id"} == set(
        rule.compared
    )
    assert ("project_id",) == rule.move_columns
    assert {field.column for field in Ticket._meta.concrete_fields} == set(rule.image)


def test_of_relations(of):
    """
    A row of a many-to-many table announces its owner, and the end of a member's right.
    """
    found = of(Project.members.through)
    assert {("project", "project_id"), ("rights", "user_id")} == found.keys()
    assert (False, True) == (
        found["project", "project_id"].is_object,
        found["rights", "user_id"].is_object,
    )
    right = found["rights", "user_id"]
    assert (True, ("CREATE", "DELETE", "UPDATE"), ()) == (
        right.ends_right,
        right.verbs,
        right.streams,
    )
    assert {("shelf", "shelf_id")} == of(Pass).keys()


@pytest.mark.parametrize(
    ("model", "path", "link"),
    [
        (Project, "members", Project.members.through._meta.get_field("user")),
        (Ticket, "project__members", Project.members.through._meta.get_field("user")),
        (Project, "tickets__assignee", Ticket._meta.get_field("assignee")),
        (Ticket, "project__tickets__assignee", Ticket._meta.get_field("assignee")),
        (Ticket, "assignee", None),
        (Ticket, "title", None),
        (Ticket, "project__members__groups", None),
        (Project, "tickets__project__members", None),
    ],
)
def test_of_relations_through_several_tables(model, path, link):
    """
    A right begins and ends in the last table of the path of foreign keys.
    """
    assert link == link_to_users(model, path)


@pytest.mark.django_db(transaction=True)
def test_of_a_grant_by_a_foreign_key(of):
    """
    A change of a foreign key on the path is a move, because it decides who may see the object.
    """
    kind = {"grants": ("project__members",), "collections": {}}
    with registered(type("Granting", (TicketType,), kind)):
        assert ("project_id",) == of(Ticket)["ticket", "id"].move_columns
        assert of(Project.members.through)["rights", "user_id"].ends_right


def test_of_users_and_tokens(of):
    """
    Rows about rights have no image. They name the user, never a token's key.
    """
    token = of(Token)["rights", "user_id"]
    found = rules(all_announcers())[get_user_model()]
    user, renamed, deleted = (rule for rule in found if rule.ends_right)
    assert ((), (), ()) == (user.image, renamed.image, token.image)
    assert {"id", "password", "is_active", "is_staff", "is_superuser"} == set(user.compared)
    assert {"id", "username"} == set(renamed.compared)
    assert ("rights.user", ("DELETE",)) == (deleted.object_type, deleted.verbs)
    assert (("DELETE", "UPDATE"), True) == (token.verbs, token.ends_right)


def test_of_sessions(of):
    """
    Only a deletion or a new key counts. The key is a secret.
    """
    (session,) = of(Session).values()
    assert (("DELETE",), ("session_key",), ()) == (session.verbs, session.compared, session.image)
    assert ("rights.session", True) == (session.object_type, session.ends_right)
    assert (True, "expire_date") == (session.is_secret, session.expires)


def test_of_an_object_in_several_tables(of):
    """
    The object has no image. A row of its ancestor's table announces it, too.
    """
    assert () == of(Book)["book", "item_ptr_id"].image
    item = of(Item)
    assert {("item", "id"), ("book", "id"), ("shelf", "shelf_id")} == item.keys()
    assert not item["book", "id"].is_object
    assert "title" in item["item", "id"].image


def test_of_types_that_json_changes(of):
    """
    Rows have no image if a column's type isn't proven to survive JSON.
    """
    claims = _announcer(Claim)
    (rule,) = rules([claims])[Claim]
    assert ("shard", ()) == (rule.key, rule.image)
    (without,) = rules([replace(claims, omit=("rows",))])[Claim]
    assert ("shard", "claimed_at") == without.image
    assert set(of(Card)["card", "id"].image) >= {"number", "colour"}


@pytest.mark.parametrize(
    "field",
    [
        ArrayField(models.JSONField()),
        DateRangeField(),
        HStoreField(),
        models.BinaryField(),
        MoneyField(max_digits=9, decimal_places=2),
        models.GeneratedField(
            expression=F("id"),
            output_field=MoneyField(max_digits=9, decimal_places=2),
            db_persist=True,
        ),
    ],
    ids=lambda field: type(field).__name__,
)
@isolate_apps("tests.library")
def test_of_a_type_that_is_not_proven(field):
    """
    A row with such a column has no image, also if its field is a kind of one that is proven.
    """
    meta = type("Meta", (), {"app_label": "library"})
    fields = {"__module__": __name__, "Meta": meta, "notes": models.JSONField(), "value": field}
    announcer = _announcer(type("Thing", (models.Model,), fields))
    ((rule,),) = rules([announcer]).values()
    assert ((), ()) == (rule.image, rule.json_columns)
    ((rule,),) = rules([replace(announcer, omit=("value",))]).values()
    assert (("id", "notes"), ("notes",)) == (rule.image, rule.json_columns)


@pytest.mark.parametrize("name", ["borrower", "borrower_id"])
def test_of_an_omitted_foreign_key(name):
    """
    A foreign key is omitted by the name of its field or of its attribute.
    """
    announcer = type("Omitting", (ItemType,), {"omit": (name,)})().announcer()
    (rule,) = (one for one in rules([announcer])[Item] if one.is_object)
    assert ["keeper_id"] == [one for one in rule.image if one in {"borrower_id", "keeper_id"}]


@pytest.mark.parametrize(
    ("column", "expression"),
    [("secret!", Upper("secret")), ("a secret", Upper("secret")), ("secret", RawSQL("SECRET", []))],
)
@isolate_apps("tests.library")
def test_of_what_is_generated_from_an_omitted_column(column, expression):
    """
    It is not in the image, whatever the column is called, and whichever way its name is written.
    """
    generated = {"output_field": models.TextField(), "db_persist": True}
    model = library_model(
        "Thing",
        secret=models.TextField(db_column=column),
        loud=models.GeneratedField(expression=expression, **generated),
        other=models.GeneratedField(expression=Upper(Value("secrets")), **generated),
    )
    ((rule,),) = rules([replace(_announcer(model), omit=("secret",))]).values()
    assert ("id", "other") == rule.image


@isolate_apps("tests.library")
def test_of_passwords():
    """
    No image contains a user's password, whichever model has the column, nor what is generated from it. Other
    models' passwords may be included.
    """

    class Member(models.Model):
        username = models.CharField(max_length=150)
        secret = models.CharField(max_length=128, db_column="password")

        class Meta:
            app_label = "library"
            managed = False
            db_table = "auth_user"

    class Account(models.Model):
        password = models.CharField(max_length=128)

        class Meta:
            app_label = "library"
            managed = False
            db_table = 'public"."auth_user'

    class Customer(AbstractBaseUser):
        class Meta:
            app_label = "library"

    class Guest(AbstractBaseUser):
        password = models.CharField(max_length=128, db_column="passwd")
        visits = models.IntegerField()
        doubled = models.GeneratedField(
            expression=F("visits") * 2, output_field=models.IntegerField(), db_persist=True
        )
        hint = models.GeneratedField(
            expression=Left("password", 9), output_field=models.TextField(), db_persist=True
        )

        class Meta:
            app_label = "library"

    class Room(models.Model):
        password = models.CharField(max_length=50)

        class Meta:
            app_label = "library"

    images = {}
    for model in (get_user_model(), Member, Account, Customer, Guest, Room):
        (rule,) = rules([_announcer(model)])[model]
        images[model] = set(rule.image)
    secret = {"password", "passwd"}
    assert [set()] * 5 + [{"password"}] == [secret & image for image in images.values()]
    assert {"id", "username"} == images[Member]
    assert {"id", "last_login", "visits", "doubled"} == images[Guest]


def _announcer(model):
    return Announcer(
        object_type="one",
        model=model,
        streams=list,
        stream_keys=(("one", "pk"),),
        payload=dict,
        tombstone=dict,
    )


def test_without_a_tracker(of):
    """
    Without a tracker every column is compared.
    """
    assert {"id", "upper"} == set(of(Label)["label", "id"].compared)
    assert of(Shelf)["shelf", "id"].compared is None
