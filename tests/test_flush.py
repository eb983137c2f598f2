"""A test of the tests' own `flush`."""

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command

from pillarbox.models import NotificationOutbox
from tests.library.models import Shelf, Tag

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("tags", [0, 1, 1500])
def test_flush_empties_every_table(tags):
    """
    Tables with few rows and with many are empty afterwards; permissions stay.
    """
    Shelf.objects.create(name="Poetry")
    Tag.objects.bulk_create(Tag(name=str(number)) for number in range(tags))
    permissions = Permission.objects.count()
    call_command("flush", interactive=False)
    assert (0, 0, 0) == (
        Shelf.objects.count(),
        Tag.objects.count(),
        NotificationOutbox.objects.count(),
    )
    assert permissions == Permission.objects.count() > 0
