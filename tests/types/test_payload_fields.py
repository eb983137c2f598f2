"""Images contain the fields that the serializer uses, and no others."""

import pytest
from django.db.models import Count
from rest_framework import serializers

from apps.tickets.models import Ticket
from pillarbox.capture.triggers.rules import rules
from pillarbox.types.fields import HashidField
from pillarbox.types.object_types import ObjectType
from pillarbox.types.payload_fields import payload_fields

#: A field that gets the whole object.
Whole = type("Whole", (serializers.Field,), {"get_attribute": lambda self, instance: instance})


class Plain(serializers.ModelSerializer):
    id = HashidField("ticket")
    name = serializers.CharField(source="title")
    owner = serializers.CharField(source="project.name")
    secret = serializers.CharField(write_only=True, source="description")

    class Meta:
        model = Ticket
        fields = ["id", "name", "owner", "assignee", "secret"]


def test_of_fields():
    """
    The sources of fields count, not their names. Write-only fields don't count.
    """
    assert {"pk", "title", "project", "assignee"} == payload_fields(Plain, Ticket)


@pytest.mark.parametrize(
    "field",
    [serializers.SerializerMethodField(), Whole(), serializers.CharField(source="__str__")],
)
def test_of_computed_fields(field):
    """
    A field that reads the whole object, or an attribute without a model field, may use any column.
    """
    kind = type("Computed", (Plain,), {"name": field, "get_name": lambda self, ticket: ""})
    assert payload_fields(kind, Ticket) is None


def test_of_an_overridden_representation():
    """
    A serializer that overrides `to_representation` may use any column.
    """
    kind = type("Own", (Plain,), {"to_representation": lambda self, ticket: {"x": ticket.status}})
    assert payload_fields(kind, Ticket) is None


class Meta:
    model = Ticket
    fields = ["title", "members"]


class PlainType(ObjectType):
    name = "plain"
    serializer_class = Plain
    collections = {"project.plain": "project"}
    visibility_fields = ("priority",)


def image_of(kind):
    ((rule,),) = rules([kind().announcer()]).values()
    return set(rule.image)


def test_an_image_has_the_columns_that_are_needed():
    """
    An image has the columns of the payload, the key, the streams and the visibility.
    """
    assert {"id", "title", "project_id", "assignee_id", "priority"} == image_of(PlainType)


def test_of_annotations():
    """
    An annotation is no column. It doesn't make an image larger.
    """
    fields = {"members": serializers.IntegerField(), "Meta": Meta}
    shown = type("Annotated", (serializers.ModelSerializer,), fields)
    kind = {"name": "annotated", "serializer_class": shown}
    count = {"annotations": {"members": Count("project__members")}}
    assert {"id", "title", "project_id"} == image_of(type("Kind", (ObjectType,), {**kind, **count}))
    assert {field.column for field in Ticket._meta.concrete_fields} == image_of(
        type("Kind", (ObjectType,), kind)
    )


def test_of_an_overridden_payload():
    """
    A type that overrides `payload` has all columns in its images.
    """
    kind = type("OwnType", (PlainType,), {"payload": lambda self, ticket: {"x": ticket.status}})
    assert {field.column for field in Ticket._meta.concrete_fields} == image_of(kind)
