"""Omitted fields: they aren't read unless the project's code reads them, and no error quotes them."""

import datetime
import uuid
from decimal import Decimal

import pytest
from django.db import models

from pillarbox.models import NotificationOutbox
from pillarbox.stream.rendering.renderer import render_batch
from tests.registration import live_model, registered, type_of
from tests.rendering import USING, render_all
from tests.stream.rendering.test_errors import SealedField

pytestmark = pytest.mark.django_db(transaction=True)

VALUES = {
    models.BinaryField(): b"tiger",
    models.DateField(): datetime.date(1977, 5, 4),
    models.DateTimeField(): datetime.datetime(1978, 6, 7, 8, 9, tzinfo=datetime.UTC),
    models.DecimalField(max_digits=6, decimal_places=2): Decimal("1234.50"),
    models.DurationField(): datetime.timedelta(days=1234, seconds=5),
    models.JSONField(): ["tiger", 12345],
    models.UUIDField(): uuid.UUID(int=2**100 + 7),
}


class Unspeakable:
    """An object without words."""

    def __repr__(self):
        raise ValueError("There are no words.")


def spellings(value):
    """Return the ways in which an error may quote a value."""
    yield from (str(value), repr(value))
    if isinstance(value, datetime.date):
        yield value.isoformat()
    elif isinstance(value, uuid.UUID):
        yield value.hex


@pytest.mark.parametrize("field", VALUES, ids=lambda field: field.get_internal_type())
def test_no_error_quotes_a_value(execute, field):
    """
    An omitted value of any type is redacted as text, as code, and in ISO's format.
    """

    def payload(self, instance):
        instance.unspeakable = Unspeakable()
        raise RuntimeError(" ".join(["Value:", *spellings(instance.value)]))

    with (
        live_model(title=models.TextField(default="a"), value=field.clone()) as model,
        registered(type_of(model, payload=payload, omit=("value",))),
    ):
        model.objects.create(value=VALUES[field])
        render_all()
    row = NotificationOutbox.objects.get()
    assert row.error_message.startswith("Value: ")
    assert not any(text in row.error_traceback for text in spellings(VALUES[field]))


@pytest.mark.parametrize("has_image", [True, False])
def test_a_value_that_cannot_be_read(execute, has_image):
    """
    It fails no row, with or without an image.
    """
    day = models.DateField()
    with (
        live_model(title=models.TextField(), day=day) as model,
        registered(type_of(model, fields=["title"], omit=("day",))),
    ):
        execute("INSERT INTO library_thing (title, day) VALUES ('a', 'infinity')")
        if not has_image:
            NotificationOutbox.objects.update(image=None)
        render_all()
    assert {"title": "a"} == NotificationOutbox.objects.get().payload


def test_an_error_about_an_object_that_cannot_be_read(execute):
    """
    It says only where it was raised, because what it may quote isn't known. Others are stored in full.
    """

    def payload(self, instance):
        raise RuntimeError(f"It is {instance.title}.")

    with (
        live_model(title=models.TextField(), seal=SealedField(max_length=10)) as model,
        registered(type_of(model, payload=payload, omit=("seal",))),
    ):
        execute("INSERT INTO library_thing (title, seal) VALUES ('a', 'bad'), ('b', 'good')")
        NotificationOutbox.objects.update(shard=3)
        assert 2 == render_batch(3, **USING)
    first, second = NotificationOutbox.objects.order_by("id")
    assert first.error_message.startswith("RuntimeError: raised in payload, line ")
    assert "It is b." == second.error_message
