"""What an image holds comes back as it was, for each type of column that images may have."""

import datetime
import uuid
from decimal import Decimal

import pytest
from django.db import models

from pillarbox.capture.triggers.image_columns import FAITHFUL
from pillarbox.models import NotificationOutbox
from tests.library.models import MoneyField
from tests.registration import library_model, registered, tables, type_of

pytestmark = pytest.mark.django_db(transaction=True)

UTC = datetime.UTC
#: Each type of field, with values at which a way through JSON may err.
VALUES = {
    models.BigAutoField(primary_key=True): [2**63 - 1, -(2**63)],
    models.BigIntegerField(): [2**63 - 1, -(2**63)],
    models.BooleanField(): [True, False],
    models.CharField(max_length=20): ["é\u2028'\"\\\n\x1e ", ""],
    models.DateField(): [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)],
    models.DateTimeField(): [
        datetime.datetime(1, 1, 1, 12, 0, 0, 1, tzinfo=UTC),
        datetime.datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=UTC),
    ],
    models.DecimalField(max_digits=40, decimal_places=20): [
        Decimal("12345678901234567890.12345678901234567890"),
        Decimal("-0.00000000000000000010"),
    ],
    models.DurationField(): [
        datetime.timedelta(days=-999999, microseconds=1),
        datetime.timedelta(days=10000, hours=-1, microseconds=999999),
    ],
    models.FloatField(): [1.7976931348623157e308, 5e-324],
    models.GenericIPAddressField(): ["2001:db8::1", "192.168.0.1"],
    models.IntegerField(): [2**31 - 1, -(2**31)],
    models.JSONField(null=True): [{"a": [1, None, 0.1, "\u2028"], "": {}}, None],
    models.PositiveBigIntegerField(): [2**63 - 1, 0],
    models.PositiveIntegerField(): [2**31 - 1, 0],
    models.PositiveSmallIntegerField(): [2**15 - 1, 0],
    models.SlugField(): ["a-b", "c"],
    models.SmallIntegerField(): [2**15 - 1, -(2**15)],
    models.TextField(): ["x" * 100_000, "null"],
    models.TimeField(): [datetime.time(23, 59, 59, 999999), datetime.time(0)],
    models.UUIDField(): [uuid.UUID(int=2**128 - 1), uuid.UUID(int=0)],
}
#: Keys that the database makes; the other key stands for them.
KEYS = {"AutoField", "SmallAutoField"}


@pytest.fixture
def seen():
    """Return the instances whose payloads were made."""
    return []


@pytest.fixture
def model(seen):
    """Return a live model with a column of each type."""
    fields = {field.get_internal_type().lower(): field for field in VALUES}
    model = library_model("Everything", **fields)
    shown = {"payload": lambda self, instance: seen.append(instance) or {}}
    with tables(model), registered(type_of(model, **shown)):
        yield model


def test_each_type_comes_back(model, seen, rendered):
    """
    The instance that is rendered has the values that the change stored, not those of a later change.
    """
    assert FAITHFUL - KEYS == {field.get_internal_type() for field in VALUES}
    names = [field.get_internal_type().lower() for field in VALUES]
    rows = list(zip(*VALUES.values(), strict=True))
    for values in rows:
        model.objects.create(**dict(zip(names, values, strict=True)))
    stored = [tuple(getattr(one, name) for name in names) for one in model.objects.order_by("-pk")]
    assert rows == stored
    assert 2 == NotificationOutbox.objects.filter(image__isnull=False).count()
    later = dict(zip(names[1:], rows[0][1:], strict=True))
    model.objects.update(**{**later, "bigintegerfield": 0})
    rendered()
    created = sorted((one for one in seen if one.bigintegerfield), key=lambda one: -one.pk)
    assert stored == [tuple(vars(one)[name] for name in names) for one in created]


def test_floats_that_json_lacks(rendered, seen):
    """
    Infinities and NaN come back, too.
    """
    values = [float("inf"), float("-inf"), float("nan"), None]
    model = library_model("Number", value=models.FloatField(null=True))
    shown = {"payload": lambda self, instance: seen.append(instance.value) or {}}
    with tables(model), registered(type_of(model, **shown)):
        for value in values:
            model.objects.create(value=value)
        model.objects.update(value=1)
        rendered()
    assert sorted(map(repr, [*values, *[1.0] * 4])) == sorted(map(repr, seen))


def test_a_column_whose_type_is_not_proven(rendered):
    """
    Rows with money have no image, because its text depends on the session. They show the current row.
    """
    model = library_model("Bill", sum=MoneyField(max_digits=9, decimal_places=2))
    shown = {"payload": lambda self, instance: {"sum": instance.sum}}
    with tables(model), registered(type_of(model, **shown)):
        model.objects.create(sum=1)
        model.objects.update(sum=1234)
        assert not NotificationOutbox.objects.filter(image__isnull=False).exists()
        ((current,),) = model.objects.values_list("sum")
        assert [{"sum": current}] * 2 == [payload for *_, payload in rendered(object_type="bill")]
    assert current.endswith("1,234.00")


def test_a_table_in_another_schema(execute, rendered):
    """
    A model's table may be in a schema that isn't in the search path, and have capitals in its name.
    """
    execute('CREATE SCHEMA "Elsewhere"')
    model = library_model(
        "Paper", meta={"db_table": 'Elsewhere"."The Paper'}, title=models.TextField()
    )
    notes = library_model(
        "Note",
        meta={"db_table": 'Elsewhere"."The Note'},
        paper=models.ForeignKey(model, models.CASCADE, related_name="notes"),
        loud=models.GeneratedField(
            expression=models.F("id") + 1, output_field=models.BigIntegerField(), db_persist=False
        ),
    )
    types = (
        type_of(model, fields=["title", "notes"], shows=("notes__*",)),
        type_of(notes, collections={"paper.notes": "paper"}),
    )
    with tables(model, notes), registered(*types):
        paper = model.objects.create(title="a")
        model.objects.update(title="b")
        execute('INSERT INTO "Elsewhere"."The Note" (paper_id) VALUES (%s)', paper.pk)
        note = notes.objects.get()
        papers = [payload for *_, payload in rendered(object_type="paper")]
        found = rendered(object_type="note")
    execute('DROP SCHEMA "Elsewhere"')
    assert [(title, [note.pk]) for title in "abb"] == [
        (payload["title"], payload["notes"]) for payload in papers
    ]
    streams = [f"note:{note.pk}", f"paper.notes:{paper.pk}"]
    shown = {"id": note.pk, "paper": paper.pk, "loud": note.pk + 1}
    assert [(stream, "CREATE_NOTE", shown) for stream in streams] == found
