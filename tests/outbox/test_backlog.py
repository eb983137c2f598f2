"""How much waits, for how long, and how much failed."""

from datetime import timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now

from apps.outbox import backlog as module
from apps.outbox.backlog import Backlog, backlog
from tests.outbox.rows import make

pytestmark = pytest.mark.django_db


def ago(seconds):
    return Now() - timedelta(seconds=seconds)


def seen():
    return backlog(using=DEFAULT_DB_ALIAS)


def test_an_empty_outbox_has_no_backlog():
    """
    Nothing waits, and nothing has an age.
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
    What is published is history.
    """
    make(1, published_at=Now(), created_at=ago(100))
    assert (0, None) == (seen().pending, seen().oldest_seconds)


@pytest.mark.parametrize(
    "values",
    [{}, {"offset": 1}, {"offset": 1, "claims": 1}, {"offset": 1, "claims": 1, "shard": 15}],
)
def test_pending_rows_count_whatever_their_state(values):
    """
    Unnumbered, numbered and tried rows wait alike, and could all be published.
    """
    make(**{**values, "created_at": ago(100), "available_at": ago(100)})
    found = seen()
    assert (1, 0) == (found.pending, found.retrying)
    assert int(not values) == found.unnumbered
    assert 100 <= found.oldest_seconds < 130
    assert 100 <= found.lag_seconds < 130


def test_who_waits_for_an_attempt_does_not_lag():
    """
    A row in its backoff, and one behind it in its stream, have an age, but no lag; once it is due, it has.
    """
    row = make(1, claims=1, attempts=1, created_at=ago(100), available_at=ago(-50))
    make(2, created_at=ago(90))
    found = seen()
    assert (2, 1, None) == (found.pending, found.retrying, found.lag_seconds)
    assert 100 <= found.oldest_seconds < 130
    type(row).objects.filter(pk=row.pk).update(available_at=ago(5))
    assert 5 <= seen().lag_seconds < 35


def test_the_oldest_of_all_shards_counts():
    """
    The age is that of the oldest row, wherever it is.
    """
    make(1, stream="a:1", shard=1, created_at=ago(10))
    make(1, stream="b:1", shard=2, created_at=ago(200))
    assert 200 <= seen().oldest_seconds < 230


def test_failed_rows_count_until_they_are_replayed():
    """
    Rows that nobody decided on are told apart from those that were replayed, new ones from old ones.
    """
    make(1, failed_at=ago(10), error_type="E")
    make(2, failed_at=ago(100_000), error_type="E")
    make(3, failed_at=ago(10), error_type="E", replayed_at=Now())
    found = seen()
    assert (3, 2, 1, 0) == (found.failed, found.unreplayed, found.failed_lately, found.pending)


def test_counting_ends_somewhere(monkeypatch):
    """
    Of a very long backlog it is said that there is more.
    """
    monkeypatch.setattr(module, "MOST_OF_SHARD", 2)
    make(1)
    assert not seen().is_more
    for offset in (2, 3):
        make(offset)
    assert (2, True) == (seen().pending, seen().is_more)
