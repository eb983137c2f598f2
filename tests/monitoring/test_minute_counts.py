"""Per-minute counts."""

from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections
from hypothesis import given, settings
from hypothesis import strategies as st

from pillarbox.models import MinuteCounts, NotificationOutbox
from pillarbox.monitoring.minute_counts import (
    BACK,
    FIRST_SINCE,
    KEPT,
    Counted,
    Rates,
    count_minutes,
    counts,
    rates,
)
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS
MINUTE = timedelta(minutes=1)


@pytest.fixture
def now():
    """The start of the current minute by the database's clock. The minute may end during a test."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT date_trunc('minute', now())")
        return cursor.fetchone()[0]


def minute(starts_at):
    values = MinuteCounts.objects.values_list("captured", "published", "obsolete", "failed", "lag")
    return values.get(starts_at=starts_at)


def test_a_minute_is_counted_when_it_is_over(now):
    """
    The counts are the captured, published and failed rows of the minute, and its longest lag.
    """
    then = now - 2 * MINUTE
    make(1, created_at=then - MINUTE, published_at=then)
    make(2, created_at=then, published_at=then + timedelta(seconds=2.5))
    make(3, created_at=then + timedelta(seconds=59.9), failed_at=then + MINUTE, error_type="E")
    make(4, created_at=then + MINUTE, failed_at=now - timedelta(seconds=0.1), error_type="E")
    make(5, created_at=now, published_at=now)
    make(6, created_at=now, published_at=then, obsolete_at=then, payload=None)
    count_minutes(using=USING)
    assert (2, 2, 1, 0, 60.0) == minute(then)
    assert (1, 0, 0, 2, 0.0) == minute(then + MINUTE)
    latest = MinuteCounts.objects.latest("starts_at").starts_at
    assert latest in {now - MINUTE, now}  # it may have ended meanwhile


def test_an_empty_outbox_has_minutes(now):
    """
    A day without rows has each minute once, with zeros.
    """
    assert Counted(minutes=1440, is_cut_short=False) == count_minutes(using=USING)
    assert {(0, 0, 0, 0.0)} == set(
        MinuteCounts.objects.values_list("captured", "published", "failed", "lag")
    )
    assert MinuteCounts.objects.earliest("starts_at").starts_at in {now - BACK, now - BACK + MINUTE}


def test_missing_minutes_are_filled_in(now):
    """
    Minutes missed during an outage are counted later; only the youngest is counted twice.
    """
    count_minutes(using=USING)
    MinuteCounts.objects.filter(starts_at__gt=now - 11 * MINUTE).delete()
    make(1, created_at=now - 5 * MINUTE, published_at=now - 5 * MINUTE)
    late = now - 11 * MINUTE
    MinuteCounts.objects.filter(starts_at__gte=now - 12 * MINUTE).update(captured=77)
    assert count_minutes(using=USING).minutes in {11, 12}  # a minute may have ended meanwhile
    assert 1 == minute(now - 5 * MINUTE)[0]
    assert (77, 0) == (minute(late - MINUTE)[0], minute(late)[0])


def test_is_cut_short_by_its_time_limit():
    """
    The result says so, and the next call continues.
    """
    assert Counted(minutes=0, is_cut_short=True) == count_minutes(using=USING, seconds=0)
    assert not count_minutes(using=USING).is_cut_short
    assert 1440 == MinuteCounts.objects.count()


def test_concurrent_counts_agree(now):
    """
    Two concurrent calls give the same counts.
    """
    make(1, created_at=now - 5 * MINUTE, published_at=now - 5 * MINUTE)

    def count():
        count_minutes(using=USING)
        connections.close_all()

    threads = [Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1440 <= MinuteCounts.objects.count() <= 1441
    assert 1 == sum(MinuteCounts.objects.values_list("captured", flat=True))


def test_old_minutes_are_dropped(now):
    """
    Counts are deleted after eight days.
    """
    for age in (KEPT - 5 * MINUTE, KEPT + 5 * MINUTE):
        MinuteCounts.objects.create(starts_at=now - age, captured=0, published=0, failed=0, lag=0)
    count_minutes(using=USING)
    assert now - KEPT + 5 * MINUTE == MinuteCounts.objects.earliest("starts_at").starts_at


@settings(max_examples=40)
@given(
    gaps=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30),
    asked=st.integers(-1, 70),
)
def test_the_first_row_since_a_moment_is_found(gaps, asked):
    """
    The search works with gaps between keys and with rows of the same time.
    """
    NotificationOutbox.objects.all().delete()
    origin, second = datetime(2026, 1, 1, tzinfo=UTC), timedelta(seconds=1)
    moments = [origin]
    for gap, _ in gaps:
        moments.append(moments[-1] + gap * second)
    rows = NotificationOutbox.objects.bulk_create(
        NotificationOutbox(stream="a", shard=0, payload={}, created_at=moment) for moment in moments
    )
    for row, (_, is_pruned) in zip(rows[1:], gaps, strict=True):
        if is_pruned:
            row.delete()
    moment = origin + asked * second
    kept = [row for row in rows if row.pk]
    with connection.cursor() as cursor:
        cursor.execute(FIRST_SINCE.format(moment="%s"), [moment])
        (first,) = cursor.fetchone()
    assert [row.created_at >= moment for row in kept] == [row.pk >= first for row in kept]


def test_minutes_are_put_together(now):
    """
    Rows are summed, the longest lag counts, and a bucket without counted minutes is marked.
    """
    for age, lag in ((3, 0.5), (4, 2.5), (64, 1.0)):
        starts_at = now - age * MINUTE
        figures = {"captured": 4, "published": 2, "obsolete": 1, "failed": 1}
        MinuteCounts.objects.create(starts_at=starts_at, **figures, lag=lag)
    hours = counts(buckets=3, minutes=60, using=USING)
    assert 3 == sum(bucket.counted for bucket in hours)
    assert (12, 6, 3, 3) == tuple(
        sum(getattr(bucket, name) for bucket in hours)
        for name in ("captured", "published", "obsolete", "failed")
    )
    assert 2.5 == max(bucket.lag for bucket in hours)
    assert [0, 60, 120] == [
        (bucket.starts_at - hours[0].starts_at).total_seconds() / 60 for bucket in hours
    ]


def test_buckets_end_with_the_youngest_minute(now):
    """
    The current minute has no bucket; if counting is behind, the last buckets are empty and marked.
    """
    assert now - 3 * MINUTE <= counts(buckets=1, minutes=1, using=USING)[0].starts_at < now
    MinuteCounts.objects.create(starts_at=now - MINUTE, captured=1, published=0, failed=0, lag=0)
    (last,) = counts(buckets=1, minutes=1, using=USING)
    assert (now - MINUTE, 1, 1) == (last.starts_at, last.counted, last.captured)


def test_rates():
    """
    Rates are averages over the last seconds; they are zero for an empty outbox.
    """
    assert Rates(captured=0, published=0) == rates(using=USING)
    now = datetime.now(UTC)
    make(1, created_at=now - MINUTE, published_at=now - MINUTE)
    make(2, created_at=now - MINUTE, published_at=now)
    make(6, created_at=now - MINUTE, published_at=now, obsolete_at=now, payload=None)
    for offset in (3, 4, 5):
        make(offset, created_at=now)
    assert Rates(captured=0.3, published=0.1, obsolete=0.1) == rates(using=USING)
