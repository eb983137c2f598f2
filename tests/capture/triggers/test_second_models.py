"""Several models may have the same table. A write by one of them is announced for each."""

import pytest
from django.db import DEFAULT_DB_ALIAS, models
from django.test.utils import isolate_apps
from rest_framework import serializers

from pillarbox.capture.triggers.installation import differences
from pillarbox.models import NotificationOutbox
from pillarbox.types.registry import ObjectType
from tests.library.models import Node
from tests.registration import registered

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("table", [Node._meta.db_table, f'public"."{Node._meta.db_table}'])
@isolate_apps("tests.library")
def test_an_unmanaged_model_of_the_same_table(rendered, table):
    """
    Each type has its own streams and payload, whichever model writes, with or without the table's schema.
    """

    class Name(models.Model):
        name = models.CharField(max_length=50)

        class Meta:
            app_label = "library"
            managed = False
            db_table = table

    class NameSerializer(serializers.ModelSerializer):
        class Meta:
            model = Name
            fields = ["name"]

    class NameType(ObjectType):
        name = "name"
        serializer_class = NameSerializer

    with registered(NameType):
        assert [] == list(differences(using=DEFAULT_DB_ALIAS))
        node = Node.objects.create(name="a")
        Name.objects.update(name="b")
        rendered()
        rows = NotificationOutbox.objects.order_by("id").values_list(
            "stream", "event", "payload__name"
        )
        assert [
            (f"node:{node.pk}", "CREATE_NODE", "a"),
            (f"node:{node.pk}", "UPDATE_NODE", "b"),
        ] == [row for row in rows if row[0].startswith("node:")]
        assert [
            (f"name:{node.pk}", "CREATE_NAME", "a"),
            (f"name:{node.pk}", "UPDATE_NAME", "b"),
        ] == [row for row in rows if row[0].startswith("name:")]
