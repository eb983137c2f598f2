"""Deletions that the database executes itself: Django's ``DB_CASCADE``, since 6.1."""

import django
import pytest
from django.db import models

from pillarbox.models import NotificationOutbox
from tests.library.models import Reader
from tests.registration import live_model


@pytest.mark.skipif(django.VERSION < (6, 1), reason="DB_CASCADE came with Django 6.1")
@pytest.mark.django_db(transaction=True)
def test_a_cascade_of_the_database_is_announced():  # pragma: no cover  # measured on Django 5.2
    """
    A live object that the database deletes with its parent announces its deletion.
    """
    with live_model(reader=models.ForeignKey(Reader, models.DB_CASCADE)) as loan:
        reader = Reader.objects.create(name="Ann")
        loan.objects.create(reader=reader)
        reader.delete()
        assert not loan.objects.exists(), "the database deletes the loan"
        announced = NotificationOutbox.objects.order_by("id").values_list("event", flat=True)
        assert ["CREATE_THING", "DELETE_THING"] == list(announced)
