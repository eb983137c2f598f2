"""Errors of Django and the database: a live model raises the same ones, at the same cost."""

import pytest
from django.core.exceptions import FieldDoesNotExist, FieldError, ValidationError
from django.db import DataError, transaction
from django.db.models import Count, F

from apps.tickets.models import Project, Ticket
from pillarbox.models import NotificationOutbox
from tests.library.models import Card, Item, Tag

pytestmark = pytest.mark.django_db(transaction=True)


def _upsert(**options):
    Card.objects.bulk_create([Card(number=1)], update_conflicts=True, **options)


#: What Django refuses before any SQL, and how.
REFUSED = {
    "bulk_create with an unsaved owner": (
        lambda: Ticket.objects.bulk_create([Ticket(project=Project())]),
        ValueError,
    ),
    "bulk_create in batches of -1": (
        lambda: Item.objects.bulk_create([Item(title="a")], batch_size=-1),
        ValueError,
    ),
    "upsert of an unknown field": (
        lambda: _upsert(unique_fields=["number"], update_fields=["nothing"]),
        FieldDoesNotExist,
    ),
    "upsert on an unknown field": (
        lambda: _upsert(unique_fields=["nothing"], update_fields=["colour"]),
        FieldDoesNotExist,
    ),
    "upsert of nothing": (lambda: _upsert(unique_fields=["number"]), ValueError),
    "update by a joined annotation": (
        lambda: Item.objects.annotate(n=Count("tags")).update(count=F("n")),
        FieldError,
    ),
    "update of an unknown field": (lambda: Item.objects.update(nothing=1), FieldDoesNotExist),
    "update of a relation": (lambda: Item.objects.update(tags=1), FieldError),
    "update of a slice": (lambda: Item.objects.all()[:2].update(count=1), TypeError),
    "save with an unsaved owner": (lambda: Ticket(project=Project()).save(), ValueError),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_errors_before_any_sql(refused, announced):
    """
    After an error raised by Django itself the caller's transaction can continue.
    """
    change, error = REFUSED[refused]
    with transaction.atomic():
        card = Card.objects.create(number=1)
        with pytest.raises(Exception) as caught:  # noqa: PT011  # its type is compared
            change()
        assert error is type(caught.value)
        Tag.objects.create(name="after")
    assert Tag.objects.exists()
    assert [(f"card:{card.pk}", "CREATE_CARD")] == announced()


#: What Django refuses on its way into SQL, and how.
VALUES = {
    "no number": ({"count": "many"}, ValueError),
    "NaN": ({"price": float("nan")}, ValidationError),
    "no JSON": ({"notes": {1: object()}}, TypeError),
    "text with NUL": ({"title": "a\x00"}, DataError),
    "too long a text": ({"title": "a" * 51}, DataError),
}


@pytest.mark.parametrize("value", VALUES)
def test_values_that_cannot_be_stored(value, announced):
    """
    The error is the one of Django or of the database, for each way to write.
    """
    values, error = VALUES[value]
    item = Item.objects.create(title="a")
    NotificationOutbox.objects.all().delete()
    for change in (
        lambda: Item(**{"title": "b", **values}).save(),
        lambda: Item(pk=item.pk, **{"title": "b", **values}).save(),
        lambda: Item.objects.update(**values),
        lambda: Item.objects.bulk_create([Item(**{"title": "b", **values})]),
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011  # its type is compared
            change()
        assert error is type(caught.value)
    assert [] == announced()
