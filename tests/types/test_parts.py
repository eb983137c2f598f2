"""Tests of the parts that every object type must have."""

import pytest
from django.db import models
from rest_framework import serializers

from pillarbox.exceptions import RegistrationError
from pillarbox.types.parts import check_parts
from pillarbox.types.registry import ObjectType, register
from tests.library.models import Card


class CardSerializer(serializers.ModelSerializer):
    class Meta:
        model, fields = Card, ["id"]


class TextSerializer(serializers.ModelSerializer):
    class Meta:
        model, fields = "library.Card", ["id"]


class PlainSerializer(serializers.Serializer):
    pass


class Abstract(models.Model):
    class Meta:
        abstract = True


def kind(**parts):
    """Return a subclass of ObjectType with these attributes."""
    return type("Kind", (ObjectType,), parts)


@pytest.mark.parametrize(
    ("problem", "cls"),
    [
        ("Expected a subclass of ObjectType", Card),
        ("Expected a subclass of ObjectType", lambda: None),
        ('Kind has no name. Write, say: name = "', kind(serializer_class=CardSerializer)),
        ("Kind has no name", kind(name=None, serializer_class=CardSerializer)),
        ("Kind has no serializer_class. Write, say: serializer_class = ", kind(name="a.card")),
        ("Kind has no serializer_class", kind(name="a.card", model=Card)),
        ("has no serializer_class", kind(name="a.card", payload=lambda self, card: {})),
        ("is 'CardSerializer': expected", kind(name="a.card", serializer_class="CardSerializer")),
        ("is <class .*Card'>: expected", kind(name="a.card", serializer_class=Card)),
        ("no model, since PlainSerializer", kind(name="a.card", serializer_class=PlainSerializer)),
        ("model of Kind is no .*Write", kind(name="a.card", serializer_class=TextSerializer)),
        (
            "model of Kind is no model",
            kind(name="a.card", serializer_class=CardSerializer, model=None),
        ),
        (
            "model of Kind is no model's class",
            kind(name="a.card", payload=lambda self, x: {}, model=CardSerializer),
        ),
        (
            "model of Kind is no model's class with a table",
            kind(name="a.card", serializer_class=CardSerializer, model=Abstract),
        ),
    ],
)
def test_a_missing_part_is_named(problem, cls):
    """
    A type without a name, a serializer or a model is refused, with the line to write.
    """
    with pytest.raises(RegistrationError, match=problem):
        register(cls)


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("shows", "members", r'a tuple of names, got .members.\. Write, say: shows = \("name",\)'),
        ("grants", None, "a tuple of names, got None"),
        ("omit", (models.F("title"),), "a tuple of names"),
        ("visibility_fields", {"owner": 1}, "a tuple of names"),
        ("collections", ("project",), "a Mapping, got"),
        ("annotations", None, "a Mapping, got None"),
        ("where", {"status": "open"}, "a Q, got"),
    ],
)
def test_options_have_their_kind_of_value(option, value, problem):
    """
    A value of another kind is refused, with an example.
    """
    wrong = kind(name="a.card", serializer_class=CardSerializer, **{option: value})
    with pytest.raises(RegistrationError, match=f"`{option}` of Kind: expected {problem}"):
        register(wrong)


@pytest.mark.parametrize(
    "parts",
    [
        {"serializer_class": CardSerializer},
        {"serializer_class": PlainSerializer, "model": Card},
        {"model": Card, "payload": lambda self, card: {}},
    ],
)
def test_these_parts_suffice(parts):
    """
    The model may be the serializer's, or be named. With both model and payload, no serializer is needed.
    """
    assert check_parts(kind(name="a.card", **parts)) is None
