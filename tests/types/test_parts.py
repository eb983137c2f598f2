"""Tests of the parts that every object type must have."""

import pytest
from rest_framework import serializers

from pillarbox.exceptions import RegistrationError
from pillarbox.types.parts import check_parts
from pillarbox.types.registry import ObjectType, register
from tests.library.models import Card


class CardSerializer(serializers.ModelSerializer):
    class Meta:
        model, fields = Card, ["id"]


class PlainSerializer(serializers.Serializer):
    pass


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
    ],
)
def test_a_missing_part_is_named(problem, cls):
    """
    A type without a name, a serializer or a model is refused, with the line to write.
    """
    with pytest.raises(RegistrationError, match=problem):
        register(cls)


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
