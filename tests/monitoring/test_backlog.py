"""The backlog: its size, its age, and the failed rows."""

from datetime import timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from pillarbox.monitoring import backlog as module
from pillarbox.monitoring.backlog import Backlog, backlog
from tests.rows import make

pytestmark = pytest.mark.django_db


def ago(seconds):
    return Now() - timedelta(seconds=seconds)


def seen():
    return backlog(using=DEFAULT_DB_ALIAS)


def test_an_empty_outbox_has_no_backlog():
    """
    An empty outbox has no pending rows and no ages.
    """
    assert seen() == Backlog(
        pending=0,
        unnumbered=0,
        retrying=0,
        is_more=False,
        oldest_seconds=None,
        lag_seconds=None,
        failed=0,
        unreplayed=0,
        failed_lately=0,
    )


def test_done_rows_do_not_count():
    """
    Published rows don't count.
    """
    make(1, published_at=Now(), created_at=ago(100))
    assert (0, None) == (seen().pending, seen().oldest_seconds)


@pytest.mark.parametrize(
    "values",
    [{}, {"offset": 1}, {"offset": 1, "claims": 1}, {"offset": 1, "claims": 1, "shard": 15}],
)
def test_pending_rows_count_in_every_state(values):
    """
    Unnumbered, numbered and tried rows count as pending and due.
    """
    make(**{**values, "created_at": ago(100), "available_at": ago(100)})
    found = seen()
    assert (1, 0) == (found.pending, found.retrying)
    assert int(not values) == found.unnumbered
    assert 100 <= found.oldest_seconds < 130
    assert 100 <= found.lag_seconds < 130


def test_rows_in_backoff_do_not_lag():
    """
    A row in its backoff, and one behind it, have an age but no lag until it is due.
    """
    row = make(1, claims=1, attempts=1, created_at=ago(100), available_at=ago(-50))
    make(2, created_at=ago(90))
    found = seen()
    assert (2, 1, None) == (found.pending, found.retrying, found.lag_seconds)
    assert 100 <= found.oldest_seconds < 130
    type(row).objects.filter(pk=row.pk).update(available_at=ago(5))
    assert 5 <= seen().lag_seconds < 35


def test_unrendered_rows_in_backoff_do_not_lag():
    """
    The same holds for a row whose rendering failed, and for unnumbered rows behind it.
    """
    row = make(payload=None, claims=1, attempts=1, created_at=ago(100), available_at=ago(-50))
    make(created_at=ago(90))
    found = seen()
    assert (2, 2, 1, None) == (
        found.pending,
        found.unnumbered,
        found.retrying,
        found.lag_seconds,
    )
    assert [row] == list(type(row).objects.retrying())
    assert 100 <= found.oldest_seconds < 130
    make(stream="other:1", payload=None, created_at=ago(30))
    assert 30 <= seen().lag_seconds < 60
    type(row).objects.filter(pk=row.pk).update(available_at=ago(60))
    assert 60 <= seen().lag_seconds < 90


def test_the_oldest_of_all_shards_counts():
    """
    The age is that of the oldest row of all shards.
    """
    make(1, stream="a:1", shard=1, created_at=ago(10))
    make(1, stream="b:1", shard=2, created_at=ago(200))
    assert 200 <= seen().oldest_seconds < 230


def test_failed_rows_count_until_they_are_replayed():
    """
    Failed rows are counted by whether they were replayed, and whether they failed lately.
    """
    make(1, failed_at=ago(10), error_type="E")
    make(2, failed_at=ago(100_000), error_type="E")
    make(3, failed_at=ago(10), error_type="E", replayed_at=Now())
    found = seen()
    assert (3, 2, 1, 0) == (found.failed, found.unreplayed, found.failed_lately, found.pending)


def test_counting_is_bounded(monkeypatch):
    """
    For a very large backlog the result says that there are more rows.
    """
    monkeypatch.setattr(module, "MOST_OF_SHARD", 2)
    make(1)
    assert not seen().is_more
    for offset in (2, 3):
        make(offset)
    assert (2, True) == (seen().pending, seen().is_more)


def test_rows_of_unknown_types_are_named(monkeypatch):
    """
    Unknown types are listed with rows and age. Their rows don't count as lag.
    """
    monkeypatch.setattr(module, "OLDEST_OF_SHARD", 1)
    for seconds in (20, 50):
        make(None, object_type="gone", payload=None, created_at=ago(seconds))
    found = seen()
    ((name, rows, age),) = [(one.object_type, one.rows, one.seconds) for one in found.unknown]
    assert ("gone", 2, 50) == (name, rows, round(age))
    assert (2, None) == (found.pending, found.lag_seconds)
    make(None, payload=None, created_at=ago(30))
    assert 30 == round(seen().lag_seconds)
