"""Charts of per-minute counts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.monitoring.charts import HEIGHT, LEAST, chart
from pillarbox.monitoring.minute_counts import Bucket

START = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)


def bucket(place, counted=1, captured=0, published=0, failed=0, lag=0.0, obsolete=0):
    return Bucket(
        starts_at=START + timedelta(minutes=place),
        counted=counted,
        captured=captured,
        published=published,
        obsolete=obsolete,
        failed=failed,
        lag=lag,
    )


def test_bars_stand_on_the_scale_of_their_strip():
    """
    The highest bar fills the height, a zero has no bar, and a bucket not counted is marked.
    """
    buckets = [
        bucket(0, published=1000),
        bucket(1, published=500, lag=2.5),
        bucket(2, published=1),
        bucket(3),
        bucket(4, counted=0),
    ]
    drawn = chart("hour", "Last hour", 1, buckets)
    published, failed, lag = drawn.strips
    assert [HEIGHT, HEIGHT / 2, LEAST, 0.0, 0.0] == [bar.height for bar in published.bars]
    assert [False, False, False, False, True] == [bar.is_missing for bar in published.bars]
    assert ("20:01: 500", "20:04: not counted") == (
        published.bars[1].title,
        published.bars[4].title,
    )
    assert ("each minute", "1\u00a0000") == (published.unit, published.most)
    assert "At most 1\u00a0000, at 20:00; 0 at the end, 20:03." == published.description
    assert {0.0} == {bar.height for bar in failed.bars}
    assert ("2.5 s", "longest") == (lag.most, lag.unit)
    assert ("20:00", "20:04") == (drawn.starts, drawn.ends)


def test_the_table_says_the_same():
    """
    The table starts with the latest bucket, and has dashes for buckets not counted.
    """
    drawn = chart("day", "Last day", 15, [bucket(0, 15, 5, 3, 2, 0.0314, 1), bucket(15, 0)])
    dash = "\N{EN DASH}"
    assert [
        ("20:15", dash, dash, dash, dash, dash),
        ("20:00", "5", "3", "1", "2", "31 ms"),
    ] == drawn.table
    assert "each 15 minutes" == drawn.strips[0].unit


def test_nothing_counted():
    """
    A chart without any counts says so, as at the first start.
    """
    drawn = chart("hour", "Last hour", 1, [bucket(0, 0)])
    assert "Nothing was counted in this period." == drawn.strips[0].description
    assert drawn.has_missing
    assert not chart("hour", "Last hour", 1, [bucket(0)]).has_missing


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=60))
def test_bars_stay_inside(values):
    """
    For any values each bar stays inside the picture, and larger values have higher bars.
    """
    drawn = chart("hour", "x", 1, [bucket(i, published=value) for i, value in enumerate(values)])
    bars = drawn.strips[0].bars
    assert all(0 <= bar.y <= HEIGHT and 0.2 > abs(bar.y + bar.height - HEIGHT) for bar in bars)
    assert all(0 <= bar.x <= drawn.width - 8 for bar in bars)
    order = sorted(range(len(values)), key=values.__getitem__)
    heights = [bars[place].height for place in order]
    assert heights == sorted(heights)


def test_zones_do_not_matter():
    """
    Times are in UTC.
    """
    east = datetime.fromisoformat("2026-11-22T22:00:00+02:00")
    assert "20:00" == chart("x", "x", 1, [replace(bucket(0), starts_at=east)]).starts
