"""`manage.py pillarbox stats`: the dashboard's figures."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from pillarbox.models import NotificationOutbox
from pillarbox.monitoring.dashboard import panel
from pillarbox.monitoring.processes import report
from tests.management.calling import facts, failed, outbox
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)


def test_prints_the_figures():
    """
    The figures are those of the dashboard.
    """
    make(None), failed(1), failed(2)
    found = facts("stats")
    assert (1, 1, 2, 2) == tuple(
        found[name] for name in ("pending", "unnumbered", "failed", "unreplayed")
    )
    text, code = outbox("stats")
    assert 0 == code
    assert text.startswith("DEGRADED\n  No worker runs. Committed rows wait in the outbox.")
    assert "Pending: 1, the oldest for " in text
    assert "In the last 10 s: 0.3 rows/s in, 0.0 out, 0.0 obsolete." in text
    assert "Failed: 2, of which 2 are not replayed; in the last 24 hours: 2." in text


def test_has_the_status_of_the_dashboard():
    """
    State, reasons and figures are the same as on the dashboard.
    """
    report(
        "worker@a:1",
        "worker",
        {"drained_at": None, "breaker": "refused"},
        using=DEFAULT_DB_ALIAS,
    )
    make(1), failed(2)
    NotificationOutbox.objects.filter(offset=1).update(created_at=Now() - timedelta(days=1))
    found, shown = facts("stats"), panel(AnonymousUser(), using=DEFAULT_DB_ALIAS)
    assert [shown["diagnosis"].state, *shown["diagnosis"].reasons] == [
        found["state"],
        *found["reasons"],
    ]
    assert {"captured": 0.1, "published": 0.0, "obsolete": 0.0} == found["rates"]


def test_of_nothing():
    """
    An empty outbox has neither age nor lag.
    """
    assert "Pending: 0.\n" in outbox("stats")[0]


def test_alerts():
    """
    With the options for alerts it exits with 1 above their thresholds.
    """
    make(1)
    NotificationOutbox.objects.update(created_at=Now() - timedelta(minutes=1))
    assert [1, 0, 0] == [
        outbox("stats", *arguments)[1]
        for arguments in (["--fail-over", "30"], ["--fail-over", "3600"], ["--fail-failed"])
    ]
    failed(2)
    assert 1 == outbox("stats", "--fail-failed")[1]
