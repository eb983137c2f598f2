"""Conditions: their two forms agree."""

import pytest
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from pillarbox.conditions import PENDING, PUBLISHABLE, UNRENDERED
from pillarbox.models import OUTBOX, NotificationOutbox

pytestmark = pytest.mark.django_db

ROWS = {
    "unrendered": {"payload": None},
    "rendered": {},
    "numbered": {"offset": 1},
    "unrenderable": {"payload": None, "offset": 2},
    "published": {"offset": 3, "published_at": Now()},
    "obsolete": {"payload": None, "offset": 4, "obsolete_at": Now()},
    "published obsolete": {
        "payload": None,
        "offset": 5,
        "obsolete_at": Now(),
        "published_at": Now(),
    },
    "failed": {"offset": 6, "failed_at": Now(), "error_type": "E"},
    "failed unrendered": {"payload": None, "failed_at": Now(), "error_type": "E"},
}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (PENDING, {"unrendered", "rendered", "numbered", "unrenderable", "obsolete"}),
        (UNRENDERED, {"unrendered", "unrenderable"}),
        (PUBLISHABLE, {"numbered", "unrenderable", "obsolete"}),
    ],
    ids=["pending", "unrendered", "publishable"],
)
def test_both_forms_select_the_same_rows(condition, expected):
    """
    The filter and the SQL of a condition select the same rows.
    """
    for name, values in ROWS.items():
        fields = {"stream": "ticket:1", "shard": 0, "payload": {}, "object_id": name, **values}
        NotificationOutbox.objects.create(**fields)
    of_table = condition.sql_of(OUTBOX)
    forms = [RawSQL(sql, (), output_field=BooleanField()) for sql in (condition.sql, of_table)]
    assert of_table.count(f"{OUTBOX}.") == of_table.count(" IS ")
    for form in (condition.q, *forms):
        found = NotificationOutbox.objects.filter(form).values_list("object_id", flat=True)
        assert expected == set(found)
